"""Our rules of where a pod may run agree with the Kubernetes scheduler, which is asked itself.

For each kind of demand and each node a pod is made that must go there or nowhere; kube-scheduler
says which.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from carpool_operator.domain.allocation.node_ledger import NodeLedger
from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.observed.nodes import observed_node
from carpool_operator.domain.observed.pods import scheduling_of
from carpool_operator.domain.observed.requests import pod_requests
from support.control_plane.binaries import BUILD
from support.control_plane.processes import Process
from support.kubernetes_objects import container

pytestmark = pytest.mark.slow

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PATIENCE = 30.0


def node(name, *taints, unschedulable=False, ready="True", cpu="8", **labels):
    return {
        "metadata": {"name": name, "labels": {"name": name, **labels}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "110", "x/fpga": "1"},
            "capacity": {"cpu": cpu, "memory": "16Gi", "pods": "110", "x/fpga": "1"},
        },
    }


def taint(key, effect, value=""):
    return {"key": key, "effect": effect, "value": value}


NODES = {
    each["metadata"]["name"]: each
    for each in (
        node("plain"),
        node("l4", gpu="l4", memory="24"),
        node("h100", taint("gpu", "NoSchedule", "h100"), gpu="h100", memory="80"),
        node("sick", taint("gpu", "NoSchedule"), taint("sick", "NoExecute"), gpu="l4"),
        node("busy", taint("busy", "PreferNoSchedule"), memory="many"),
        node("cordoned", unschedulable=True, gpu="l4"),
    )
}


def terms(*each):
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(each)}}}}


def expression(key, operator, *values):
    given = {"values": list(values)} if values else {}
    return {"matchExpressions": [{"key": key, "operator": operator, **given}]}


def field(operator, name):
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]}


def tolerations(*each):
    return {"tolerations": list(each)}


DEMANDS = [
    {},
    {"nodeSelector": {"gpu": "l4"}},
    {"nodeSelector": {"gpu": "l4", "memory": "24"}},
    terms(expression("gpu", "In", "l4", "h100")),
    terms(expression("gpu", "NotIn", "l4")),
    terms(expression("gpu", "Exists")),
    terms(expression("gpu", "DoesNotExist")),
    terms(expression("memory", "Gt", "24")),
    terms(expression("memory", "Lt", "80")),
    terms(expression("gpu", "In", "none"), expression("memory", "Exists")),
    terms(field("In", "l4")),
    terms(field("NotIn", "l4")),
    terms(expression("gpu", "Exists") | field("NotIn", "l4")),
    terms({}),
    tolerations({"operator": "Exists"}),
    tolerations({"key": "gpu", "operator": "Exists"}),
    tolerations({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
    tolerations({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}),
    tolerations({"key": "gpu", "value": "h100"}),
    tolerations({"key": "gpu", "operator": "Equal", "value": ""}),
    tolerations({"key": "sick", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}),
    tolerations({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}),
]


def sidecar(name, **requests):
    return container(name, **requests) | {"restartPolicy": "Always"}


REQUESTS = [
    {"containers": [container(cpu="8")]},
    {"containers": [container(cpu="8001m")]},
    {"containers": [container(cpu="5")], "initContainers": [sidecar("a", cpu="3")]},
    {"containers": [container(cpu="5")], "initContainers": [sidecar("a", cpu="3001m")]},
    {"containers": [container(cpu="1")], "initContainers": [container("a", cpu="8")]},
    {"containers": [container(cpu="1")], "initContainers": [container("a", cpu="8001m")]},
    {
        "containers": [container(cpu="1")],
        "initContainers": [sidecar("a", cpu="2"), container("b", cpu="6"), sidecar("c", cpu="4")],
    },
    {
        "containers": [container(cpu="1")],
        "initContainers": [sidecar("a", cpu="2"), container("b", cpu="6001m")],
    },
    {"containers": [container(memory="16Gi")]},
    {"containers": [container(memory="16385Mi")]},
    {"containers": [container(**{"x/fpga": "1"})]},
    {"containers": [container(**{"x/fpga": "2"})]},
    {"containers": [container(**{"x/other": "1"})]},
]


@pytest.fixture(scope="module")
def scheduler(cluster, tmp_path_factory):
    program = cluster.binaries.apiserver.with_name("kube-scheduler")
    if not program.exists():
        if "KUBEBUILDER_ASSETS" in os.environ:
            pytest.skip("KUBEBUILDER_ASSETS has no kube-scheduler")
        subprocess.run([sys.executable, str(BUILD), program.name], check=True)
    arguments = {
        "kubeconfig": str(cluster.kubeconfig),
        "secure-port": "0",
        "leader-elect": "false",
    }
    process = Process(program, arguments, tmp_path_factory.mktemp("scheduler"))
    yield
    process.kill()


@pytest.fixture(scope="module")
def nodes(cluster, scheduler):
    """The nodes, as the API server gives them."""
    api, found = cluster.admin, {}
    for name, each in NODES.items():
        api.post("/api/v1/nodes", each)
        # The API server taints what is new as not ready; here nobody takes that away.
        taints = {"spec": {"taints": each["spec"]["taints"]}}
        if each["spec"]["unschedulable"]:
            taints["spec"]["taints"] = [taint("node.kubernetes.io/unschedulable", "NoSchedule")]
        api.merge(f"/api/v1/nodes/{name}", taints)
        found[name] = observed_node(
            api.merge(f"/api/v1/nodes/{name}/status", {"status": each["status"]})
        )
    yield found
    for name in NODES:
        api.delete(f"/api/v1/nodes/{name}")


def scheduled(api, namespace, pods):
    """Which of the pods the scheduler finds a place for, by name; it is asked for all at once."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "own"}})
    for name, spec in pods.items():
        for each in spec["containers"]:
            # The API server wants limits of extended resources.
            each["resources"]["limits"] = {
                key: amount for key, amount in each["resources"]["requests"].items() if "/" in key
            }
        api.post(path, {"metadata": {"name": name}, "spec": spec | {"serviceAccountName": "own"}})
    found: dict[str, bool] = {}
    for _, pod in api.watch(path, PATIENCE):
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if condition["type"] == "PodScheduled":
                found[pod["metadata"]["name"]] = condition["status"] == "True"
        if len(found) == len(pods):
            return found
    raise AssertionError(f"the scheduler has not answered for {pods.keys() - found.keys()}")


def test_a_pod_goes_where_the_scheduler_lets_it_go(api, namespace, nodes):
    pods, expected = {}, {}
    for index, demand in enumerate(DEMANDS):
        for name, known in nodes.items():
            selector = demand.get("nodeSelector", {}) | {"name": name}
            spec = demand | {"nodeSelector": selector, "containers": [container()]}
            pods[f"{index}-{name}"] = spec
            expected[f"{index}-{name}"] = mismatch(known, scheduling_of(spec)) is None
    found = scheduled(api, namespace, pods)
    assert {name for name in pods if found[name] != expected[name]} == set()
    assert 0.2 < sum(found.values()) / len(found) < 0.8


def test_a_pod_fits_where_the_scheduler_says_it_does(api, namespace, nodes):
    """Each on a node of its own size, without others."""
    made, pods, expected = [], {}, {}
    for index, spec in enumerate(REQUESTS):
        name = f"own-{index}"
        api.post("/api/v1/nodes", node(name))
        api.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": []}})
        status = {"status": NODES["plain"]["status"]}
        ledger = NodeLedger(name)
        ledger.see(observed_node(api.merge(f"/api/v1/nodes/{name}/status", status)))
        made.append(name)
        pods[name] = spec | {"nodeSelector": {"name": name}}
        expected[name] = ledger.fits(pod_requests(spec))
    found = scheduled(api, namespace, pods)
    for name in made:
        api.delete(f"/api/v1/nodes/{name}")
    assert found == expected
    assert list(expected.values())[:8] == [True, False] * 4
