"""The operator under the chart's account: its rights are enough, and none is there for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from support import played_kubelet as played
from support.control_plane.plane import ControlPlane, write_kubeconfig
from support.helm import of_kind, rendered
from support.operator_process import operator
from support.played_cluster import PlayedCluster
from support.watching import await_gone, await_object, condition

RELEASE = "carpool-system"
SELDOM = {
    ("get", "pods"): "whether a driver that exists already is ours, after a kill at its creation",
    ("get", "configmaps"): "the same, of a ConfigMap",
    ("create", "leases"): "a first start",
}
"""Granted, and not used in the life below, with the reason."""


def finished(raw) -> bool:
    return condition(raw, "Finished")[0] == "True"


def granted(objects) -> Iterator[tuple[str, str]]:
    """Verbs and resources of all roles bound to the operator's account."""
    for role in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")):
        if "driver" in role["metadata"]["name"]:
            continue
        for rule in role["rules"]:
            for resource in rule["resources"]:
                yield from ((verb, resource) for verb in rule["verbs"])


def used(events) -> Iterator[tuple[str, str]]:
    for event in events:
        place = event.get("objectRef")
        if place:
            part = f"/{place['subresource']}" if "subresource" in place else ""
            yield event["verb"], place["resource"] + part


def as_account(plane: ControlPlane, name: str, folder: Path) -> Path:
    """A kubeconfig of the service account; its user and groups, by a client certificate."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{RELEASE}"]
    credentials = plane.authority.client(f"system:serviceaccount:{RELEASE}:{name}", groups)
    return write_kubeconfig(folder / "account", plane.port, plane.authority, credentials)


def test_the_charts_rights_are_enough_and_each_is_used_or_has_its_reason(
    api, cluster, jobs_namespace, tmp_path
):
    api.post("/api/v1/namespaces", {"metadata": {"name": RELEASE}})
    objects = rendered({"operator.namespaces": [jobs_namespace]}, namespace=RELEASE)
    kinds = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    rights = [found for kind in kinds for found in of_kind(objects, kind)]
    applied = cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(rights))
    assert applied.returncode == 0, applied.stderr
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    account = pod["serviceAccountName"]
    # The settings are the chart's, too: what it sets is what the operator understands.
    settings = {
        each["name"].removeprefix("CARPOOL_").lower(): each["value"]
        for each in pod["containers"][0]["env"]
        if each["name"].startswith("CARPOOL_") and "value" in each
    } | {"lease_duration_seconds": "6", "job_recheck_seconds": "0.2"}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{RELEASE}/leases"
    api.post(leases, {"metadata": {"name": settings["lease_name"]}, "spec": {"holderIdentity": ""}})

    jobs = played.jobs_path(jobs_namespace)
    with (
        operator(
            cluster, tmp_path, kubeconfig=as_account(cluster, account, tmp_path), **settings
        ) as running,
        PlayedCluster(
            cluster, jobs_namespace, lambda _, attempt: "is killed" if attempt == 1 else "succeeds"
        ),
    ):
        api.post(jobs, played.cpu_job("allowed"))
        await_object(api, jobs, "allowed", finished, "finished")
        api.post(jobs, played.cpu_job("short-lived", spec__ttlSecondsAfterFinished=0))
        await_gone(api, jobs, "short-lived")
        assert running.terminate(10) == 0

    user = f"system:serviceaccount:{RELEASE}:{account}"
    events = [event for event in cluster.audit_events() if event["user"]["username"] == user]
    refused = [event for event in events if event.get("responseStatus", {}).get("code") == 403]
    assert [(event["verb"], event["requestURI"]) for event in refused] == []
    rights, needed = set(granted(objects)), set(used(events))
    assert ("patch", "pods") in rights & needed
    unused = rights - needed
    assert unused <= set(SELDOM), f"granted and not used: {sorted(unused - set(SELDOM))}"
