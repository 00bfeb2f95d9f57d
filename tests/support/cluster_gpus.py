"""GPUs for nodes of the test cluster: the mock library, and a file of GPUs for each node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.cluster import JobsNamespace, until
from support.mock_nvml.library import build_library
from support.mock_nvml.node import MockNode

GPUS = 4
"""Of each node."""
_LABEL = "nvidia.com/gpu.present"
_KUBELET_GPUS = "nvidia.com/gpu"
_FOLDER = "nvml"
_MOUNT = "/mock"

Values = dict[str, Any]


def values(jobs: JobsNamespace) -> Values:
    """What the chart is installed with where nodes have the mock and not NVIDIA's runtime."""
    return {
        "gpu__runtimeClass": "",
        "agent__pollSeconds": 1,
        "agent__recoverySeconds": 5,
        "agent__env": [
            {"name": "LD_LIBRARY_PATH", "value": _MOUNT},
            {"name": "MOCK_NVML", "value": f"{_MOUNT}/$(CARPOOL_NODE_NAME).nvml"},
        ],
        "agent__volumes": [
            {"name": "mock", "hostPath": {"path": f"/shared/files/{jobs.name}/{_FOLDER}"}}
        ],
        "agent__volumeMounts": [{"name": "mock", "mountPath": _MOUNT, "readOnly": True}],
    }


@contextmanager
def mock_gpus(jobs: JobsNamespace, nodes: list[str]) -> Iterator[dict[str, MockNode]]:
    """Make these nodes GPU nodes, for as long as a test needs."""
    folder = jobs.folder / _FOLDER
    folder.mkdir()
    build_library(folder)
    made = {node: MockNode(folder, GPUS, node) for node in nodes}
    try:
        for node in nodes:
            jobs.kubectl("label", "node", node, f"{_LABEL}=true", "--overwrite")
        yield made
    finally:
        for node in nodes:
            jobs.kubectl("label", "node", node, f"{_LABEL}-")
            jobs.kubectl("delete", "gpunode", node, "--ignore-not-found")


@contextmanager
def plugin_gpus(jobs: JobsNamespace, node: str, count: int) -> Iterator[None]:
    """Have the node's kubelet offer so many GPUs, and take them away again.

    No device plugin is needed for that:
    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """

    def offered() -> dict[str, str]:
        status = json.loads(jobs.kubectl("get", "node", node, "-o", "json"))["status"]
        return {kind: status[kind].get(_KUBELET_GPUS, "0") for kind in ("capacity", "allocatable")}

    def await_offer(amount: str) -> None:
        until(lambda: set(offered().values()) == {amount}, lambda: f"{node}: {offered()}")

    def change(**operation: str) -> None:
        path = f"/status/capacity/{_KUBELET_GPUS.replace('/', '~1')}"
        patch = json.dumps([{"path": path, **operation}])
        words = ("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)
        jobs.kubectl(*words)

    change(op="add", value=str(count))
    try:
        await_offer(str(count))
        yield
    finally:
        change(op="remove")
        await_offer("0")


def await_health(jobs: JobsNamespace, node: str, uuid: str, wanted: str) -> None:
    """Wait until the node's agent says so of a GPU."""

    def health() -> str | None:
        listed = jobs.kubectl("get", "gpunodes", node, "--ignore-not-found", "-o", "json")
        status = (json.loads(listed) if listed else {}).get("status") or {}
        return next((gpu["health"] for gpu in status.get("gpus", ()) if gpu["uuid"] == uuid), None)

    until(lambda: health() == wanted, lambda: f"{node}, {uuid}: {health()}", seconds=60)
