"""`carpool gpus`: a row for each GPU of a cluster, and who is on it.

What the node agents report (GPUNodes) beside what the operator has assigned (annotations of
executor pods). Both are read through kubectl, so nothing of Kubernetes is needed here.
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
    rows = gpu_rows(nodes, _executors(access, options.namespace), datetime.now(UTC).timestamp())
    if options.output == "json":
        print(json.dumps({"gpus": rows, "nodes": [_node(node) for node in nodes]}))
        return 0
    for line in _aligned([_HEADER, *(_cells(row) for row in rows)]):
        print(line)
    for line in _remarks(nodes, rows):
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


def gpu_rows(
    nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]] | None, now: float
) -> list[Row]:
    """A row for each GPU.

    Args:
        nodes: GPUNodes, as JSON.
        pods: executor pods, as JSON; None: unknown.
        now: Unix time.

    Returns:
        Of each GPU: node, uuid, product, mig, memory (bytes), health, message, lastXid, stale (its
        report is older than the operator relies on), executors (namespace, job and pod; None where
        they are unknown).
    """
    on: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for pod in pods or ():
        metadata = pod["metadata"]
        uuid = (metadata.get("annotations") or {}).get(_ASSIGNED)
        if uuid is None or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        on[uuid].append(
            {
                "namespace": metadata["namespace"],
                "job": metadata.get("labels", {}).get(_JOB, ""),
                "pod": metadata["name"],
            }
        )
    rows = []
    for node in sorted(nodes, key=lambda found: str(found["metadata"]["name"])):
        status = node.get("status") or {}
        seen = status.get("heartbeatTime")
        stale = seen is None or now - datetime.fromisoformat(seen).timestamp() > _STALE
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
                "executors": None if pods is None else on[gpu["uuid"]],
            }
            for gpu in status.get("gpus") or ()
        ]
    return rows


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
        named or "-",
    )


def _remarks(nodes: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> Iterable[str]:
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
    if not nodes:
        yield "No node has reported GPUs; do the agents of Carpool run on GPU nodes?"


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "   ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
