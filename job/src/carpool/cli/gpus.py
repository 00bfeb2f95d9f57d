"""`carpool gpus`: a row for each GPU of a cluster, and who is on it.

What the node agents report (GPUNodes) beside what the operator has assigned (annotations of
executor pods). Both are read through kubectl, so nothing of Kubernetes is needed here.

Of GPUs that a node's kubelet hands out (ownership Exclusive) the kubelet alone knows which pod has
which. So much is said of them: how many there are, and which executors have one; and which one,
where the agent sees the processes of its node.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from carpool.cli.kubectl import read_objects
from carpool.errors import ClusterRefused
from carpool.spec.gpu import is_kubelets
from carpool.spec.quantity import quantity_bytes

_ASSIGNED = "carpool.dev/gpu-uuid"
_JOB = "carpool.dev/job"
_STALE = 90.0
"""Age in seconds at which the operator no longer relies on a report."""
_GIB = 1024**3

Row = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--node", help="of this node alone")
    parser.add_argument("--namespace", "-n", help="executors of this namespace alone")
    parser.add_argument("--context", help="of the kubeconfig")
    parser.add_argument("--kubeconfig", help="path of the kubeconfig")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(command=gpus)


def gpus(options: argparse.Namespace) -> int:
    """Show the GPUs."""
    access = [
        f"--{name}={value}"
        for name in ("context", "kubeconfig")
        if (value := getattr(options, name)) is not None
    ]
    nodes = read_objects(access, "gpunodes.carpool.dev")
    if options.node is not None:
        nodes = [node for node in nodes if node["metadata"]["name"] == options.node]
    pods = _executors(access, options.namespace)
    kubelets = kubelet_gpus(_offering(access, options.node), pods)
    rows = gpu_rows(nodes, pods, datetime.now(UTC).timestamp(), kubelets)
    if options.output == "json":
        found = {"gpus": rows, "nodes": [_node(node) for node in nodes], "kubelets": kubelets}
        print(json.dumps(found))
        return 0
    for line in _aligned([_HEADER, *(_cells(row) for row in rows)]):
        print(line)
    for line in (*_remarks(nodes, rows, kubelets), *_of_kubelets(kubelets)):
        print(line)
    return 0


def _executors(access: Sequence[str], namespace: str | None) -> list[dict[str, Any]] | None:
    """Executor pods; None where the user may not see them."""
    where = "--all-namespaces" if namespace is None else f"--namespace={namespace}"
    try:
        return read_objects(access, "pods", where, "--selector=carpool.dev/role=executor")
    except ClusterRefused as error:
        print(f"carpool: executors are not shown: {error}", file=sys.stderr)
        return None


def _offering(access: Sequence[str], name: str | None) -> list[dict[str, Any]] | None:
    """Nodes whose kubelets hand out GPUs, or the one of this name; None: the user may not see."""
    try:
        nodes = read_objects(access, "nodes")
    except ClusterRefused as error:
        print(f"carpool: which kubelets hand out GPUs is not shown: {error}", file=sys.stderr)
        return None
    return [node for node in nodes if name in (None, node["metadata"]["name"])]


def kubelet_gpus(
    nodes: Iterable[Mapping[str, Any]] | None, pods: Iterable[Mapping[str, Any]] | None
) -> list[Row] | None:
    """What kubelets hand out.

    Args:
        nodes: of the cluster, as JSON; None: unknown.
        pods: executor pods, as JSON; None: unknown.

    Returns:
        Of each node whose kubelet hands out GPUs: node, gpus (how many), executors (those that have
        one: namespace, job and pod; None where they are unknown). None where nodes are unknown.
    """
    if nodes is None:
        return None
    on: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for pod in _living(pods):
        if _asks_kubelet(pod) and (node := pod["spec"].get("nodeName")) is not None:
            on[node].append(_executor(pod))
    found = [
        {
            "node": node["metadata"]["name"],
            "gpus": sum(
                int(amount)
                for resource, amount in (node.get("status", {}).get("capacity") or {}).items()
                if is_kubelets(resource)
            ),
            "executors": None if pods is None else on[node["metadata"]["name"]],
        }
        for node in nodes
    ]
    return sorted((each for each in found if each["gpus"]), key=lambda each: str(each["node"]))


def _living(pods: Iterable[Mapping[str, Any]] | None) -> Iterable[Mapping[str, Any]]:
    for pod in pods or ():
        if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
            yield pod


def _asks_kubelet(pod: Mapping[str, Any]) -> bool:
    return any(
        is_kubelets(resource)
        for container in pod.get("spec", {}).get("initContainers") or ()
        for resource in container.get("resources", {}).get("limits") or ()
    )


def _executor(pod: Mapping[str, Any]) -> dict[str, str]:
    metadata = pod["metadata"]
    return {
        "namespace": metadata["namespace"],
        "job": metadata.get("labels", {}).get(_JOB, ""),
        "pod": metadata["name"],
    }


def gpu_rows(
    nodes: Iterable[Mapping[str, Any]],
    pods: Iterable[Mapping[str, Any]] | None,
    now: float,
    kubelets: Iterable[Row] | None = None,
) -> list[Row]:
    """A row for each GPU.

    Args:
        nodes: GPUNodes, as JSON.
        pods: executor pods, as JSON; None: unknown.
        now: Unix time.
        kubelets: what kubelets hand out; None: unknown.

    Returns:
        Of each GPU: node, uuid, product, mig, memory (bytes), health, message, lastXid, stale (its
        report is older than the operator relies on), owner (Pool, Kubelet, or None where that is
        unknown), executors (namespace, job and pod; None where they are unknown).
    """
    on: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    asking: dict[str, dict[str, str]] = {}
    for pod in _living(pods):
        uuid = (pod["metadata"].get("annotations") or {}).get(_ASSIGNED)
        if uuid is not None:
            on[uuid].append(_executor(pod))
        elif _asks_kubelet(pod):
            asking[pod["metadata"]["uid"]] = _executor(pod)
    of_kubelets = None if kubelets is None else {each["node"] for each in kubelets}
    rows = []
    for node in sorted(nodes, key=lambda found: str(found["metadata"]["name"])):
        status = node.get("status") or {}
        seen = status.get("heartbeatTime")
        stale = seen is None or now - datetime.fromisoformat(seen).timestamp() > _STALE
        owner = None
        if of_kubelets is not None:
            owner = "Kubelet" if node["metadata"]["name"] in of_kubelets else "Pool"
        for gpu in status.get("gpus") or ():
            seen_on = {process.get("podUID") for process in gpu.get("processes") or ()}
            on[gpu["uuid"]] += [asking[uid] for uid in asking if uid in seen_on]
        rows += [
            {
                "node": node["metadata"]["name"],
                "uuid": gpu["uuid"],
                "product": gpu["product"],
                "mig": gpu.get("mig", {}).get("profile"),
                "memory": quantity_bytes(gpu["memory"]),
                "health": gpu["health"],
                "message": gpu.get("healthMessage"),
                "lastXid": gpu.get("lastXid"),
                "stale": stale,
                "owner": owner,
                "executors": _known(on[gpu["uuid"]], owner) if pods is not None else None,
            }
            for gpu in status.get("gpus") or ()
        ]
    return rows


def _known(executors: list[dict[str, str]], owner: str | None) -> list[dict[str, str]] | None:
    """Those on a GPU; of a kubelet's GPU nobody seen does not mean nobody."""
    return executors if executors or owner != "Kubelet" else None


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    status = node.get("status") or {}
    return {
        "name": node["metadata"]["name"],
        "driver": status.get("driverVersion"),
        "message": status.get("message"),
        "heartbeatTime": status.get("heartbeatTime"),
    }


_HEADER = ("NODE", "GPU", "PRODUCT", "MEMORY", "HEALTH", "EXECUTORS", "JOBS")


def _cells(row: Row) -> tuple[str, ...]:
    executors = row["executors"]
    jobs = Counter(f"{one['namespace']}/{one['job']}" for one in executors or ())
    named = ", ".join(
        job if count == 1 else f"{job} ({count})" for job, count in sorted(jobs.items())
    )
    return (
        row["node"],
        row["uuid"],
        row["product"] if row["mig"] is None else f"{row['product']} {row['mig']}",
        f"{row['memory'] / _GIB:.1f}Gi",
        f"{row['health']} (stale)" if row["stale"] else row["health"],
        "?" if executors is None else str(len(executors)),
        named or ("the kubelet's" if row["owner"] == "Kubelet" else "-"),
    )


def _of_kubelets(kubelets: Iterable[Row] | None) -> Iterable[str]:
    """What each kubelet hands out, a line each."""
    for each in kubelets or ():
        line = f"{each['node']}: its kubelet hands out {each['gpus']} GPUs, none by UUID"
        if each["executors"] is None:
            yield line
            continue
        jobs = Counter(f"{one['namespace']}/{one['job']}" for one in each["executors"])
        named = ", ".join(f"{job} ({count})" for job, count in sorted(jobs.items()))
        yield f"{line}; {len(each['executors'])} to executors{f': {named}' if named else ''}"


def _remarks(
    nodes: Sequence[Mapping[str, Any]], rows: Sequence[Row], kubelets: Sequence[Row] | None
) -> Iterable[str]:
    """What is wrong, a line each."""
    for node in map(_node, nodes):
        if node["heartbeatTime"] is None:
            yield f"{node['name']}: its agent has reported nothing yet"
        elif node["message"] is not None:
            yield f"{node['name']}: {node['message']}"
    for row in rows:
        if row["message"] is not None:
            yield f"{row['node']} {row['uuid']}: {row['message']}"
    stale = sorted({row["node"] for row in rows if row["stale"]})
    if stale:
        yield f"No GPU is handed out on nodes whose report is stale: {', '.join(stale)}"
    if not nodes and not kubelets:
        yield "No node has reported GPUs; do the agents of Carpool run on GPU nodes?"


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "   ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
