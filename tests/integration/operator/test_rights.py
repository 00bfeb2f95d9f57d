"""The operator under the account of its chart: it may do what it does, and not much more.

The API server's audit log says what was asked and what was refused, for whole lives of jobs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import yaml

from support import played_kubelet as played
from support.control_plane.plane import write_kubeconfig
from support.helm import of_kind, rendered
from support.operator_process import operator
from support.played_cluster import PlayedCluster
from support.played_gpus import GPU_NODES, gpu_nodes
from support.watching import await_gone, await_matching, await_object, condition

UNUSED: dict[tuple[str, str], str] = {}
"""Granted verbs that these lives do not use, each with its reason."""


@pytest.fixture
def account(api, cluster, jobs_namespace, tmp_path):
    """The chart's rights, installed; the release's namespace and a plane of its account's user."""
    release = f"{jobs_namespace}-release"
    api.post("/api/v1/namespaces", {"metadata": {"name": release}})
    values = {
        "operator": {"namespaces": [jobs_namespace]},
        "jobs": {"serviceAccount": {"name": "carpool-charted"}},
        "agent": {"enabled": False},
    }
    objects = rendered(values, release=jobs_namespace, namespace=release)
    made = [
        found
        for kind in (
            *("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
            *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
        )
        for found in of_kind(objects, kind)
    ]
    done = cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump_all(made))
    assert done.returncode == 0, done.stderr
    [deployment] = of_kind(objects, "Deployment")
    name = deployment["metadata"]["name"]
    user = f"system:serviceaccount:{release}:{name}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{release}"]
    credentials = cluster.authority.client(user, groups)
    kubeconfig = write_kubeconfig(
        tmp_path / "kubeconfig", cluster.port, cluster.authority, credentials
    )
    return replace(cluster, kubeconfig=kubeconfig), name, release, user, objects


def granted(objects, name):
    """(resource, verb) that the chart grants the operator."""
    roles = [
        role
        for role in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role"))
        if role["metadata"]["name"].startswith(name)
    ]
    assert len(roles) == 3
    return {
        pair
        for role in roles
        for rule in role["rules"]
        for pair in product(rule["resources"], rule["verbs"])
    }


def finished(raw):
    return condition(raw, "Finished")[0] == "True"


def name_taken(raw):
    return condition(raw, "Reserved")[1] == "NameTaken"


def live_through_everything(api, namespace, plane):
    """Lives in which each kind of write is made."""
    jobs, pods = played.jobs_path(namespace), played.pods_path(namespace)
    driver_account = {"serviceAccountName": "carpool-charted"}
    endings = {"killed": {1: "is killed"}, "paused": {1: "goes on"}}

    def script(job, attempt):
        return endings.get(job, {}).get(attempt, "succeeds")

    def job(name, **changes):
        return api.post(jobs, played.cpu_job(name, spec__spark=driver_account, **changes))

    # Names that somebody else has: of a ConfigMap, of a driver.
    first, second = (job(name, spec__suspend=True) for name in ("taken", "held"))
    void = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
    container = {"name": "other", "image": "none", "env": [void]}
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    config_map = f"taken-{first['metadata']['uid'][:5]}-1"
    driver = f"held-{second['metadata']['uid'][:5]}-1-driver"
    api.post(maps, {"metadata": {"name": config_map}})
    api.post(pods, {"metadata": {"name": driver}, "spec": {"containers": [container]}})
    with PlayedCluster(plane, namespace, script):
        for name, path in (("taken", f"{maps}/{config_map}"), ("held", f"{pods}/{driver}")):
            api.merge(f"{jobs}/{name}", {"spec": {"suspend": False}})
            await_object(api, jobs, name, name_taken, "says whose name it is")
            api.delete(path, gracePeriodSeconds="0")
            await_object(api, jobs, name, finished, "finished")
        job("killed")
        await_object(api, jobs, "killed", finished, "finished")
        job("paused")
        await_matching(
            api,
            pods,
            lambda pod: pod["status"]["phase"] == "Running",
            3,
            "all run",
            labelSelector="carpool.dev/job=paused",
        )
        api.merge(f"{jobs}/paused", {"spec": {"suspend": True}})
        await_object(
            api, jobs, "paused", lambda raw: raw["status"].get("phase") == "Suspended", "suspended"
        )
        api.merge(f"{jobs}/paused", {"spec": {"suspend": False}})
        await_object(api, jobs, "paused", finished, "finished")
        job("short", spec__ttlSecondsAfterFinished=0)
        await_gone(api, jobs, "short")


def test_nothing_it_does_is_refused_and_what_it_may_do_it_does(
    api, cluster, jobs_namespace, account, tmp_path
):
    plane, name, release, user, objects = account
    with (
        gpu_nodes(cluster, "rights", nodes=1, gpus=1) as [node],
        operator(
            plane,
            tmp_path,
            namespaces=jobs_namespace,
            lease_name=name,
            lease_namespace=release,
            lease_duration_seconds="6",
            job_recheck_seconds="0.2",
        ) as running,
    ):
        live_through_everything(api, jobs_namespace, cluster)
        await_object(
            api, GPU_NODES, node, lambda raw: "assigned" in raw["status"], "says what is assigned"
        )
        assert running.terminate(10) == 0, running.text
    asked = [
        event
        for event in cluster.audit_events()
        if event["user"].get("username") == user and event["stage"] == "ResponseComplete"
    ]
    assert asked
    refused = {
        (event["verb"], event["requestURI"])
        for event in asked
        if event["responseStatus"]["code"] == 403
    }
    assert refused == set()
    used = set()
    for event in asked:
        if "objectRef" in event:
            about = event["objectRef"]
            parts = [about.get("resource", ""), about.get("subresource", "")]
            used.add(("/".join(filter(None, parts)), event["verb"]))
    assert granted(objects, name) - used == UNUSED.keys()
