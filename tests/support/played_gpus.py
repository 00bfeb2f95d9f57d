"""Plays nodes with GPUs and their agents' reports, where it is the allocator that is looked at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.control_plane.client import ApiClient, Body
from support.control_plane.plane import ControlPlane
from support.played_kubelet import add_node, now

GPU_NODES = "/apis/carpool.dev/v1alpha1/gpunodes"
_HEARTBEAT = 20.0
_LABEL = "played-gpus"


def gpu_uuid(node: str, index: int) -> str:
    """The name says where a GPU is, so a test sees when a pod has the node of another."""
    return f"GPU-{node}-{index}"


def node_of(uuid: str) -> str:
    return uuid.removeprefix("GPU-").rpartition("-")[0]


@contextmanager
def gpu_nodes(plane: ControlPlane, group: str, nodes: int, gpus: int) -> Iterator[list[str]]:
    """So many nodes with so many healthy GPUs each, of which agents report while this lasts.

    They have the label `played-gpus` with the group's name, and only its jobs should go there.
    """
    names = [f"{group}-{number}" for number in range(nodes)]
    api = plane.user("carpool-tests", "system:masters")
    for name in names:
        add_node(api, name)
        api.merge(f"/api/v1/nodes/{name}", {"metadata": {"labels": {_LABEL: group}}})
        api.post(GPU_NODES, _gpu_node(name))
        _report(api, name, gpus)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_HEARTBEAT):
            for name in names:
                _report(api, name, gpus)

    thread = threading.Thread(target=beat, name="played-agents")
    thread.start()
    try:
        yield names
    finally:
        stop.set()
        thread.join()
        for name in names:
            api.delete(f"{GPU_NODES}/{name}")
            api.delete(f"/api/v1/nodes/{name}")
        api.close()


def selector(group: str) -> Body:
    """`spec.gpu.nodeSelector` of a job for these nodes."""
    return {_LABEL: group}


def _gpu_node(name: str) -> Body:
    return {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "GPUNode",
        "metadata": {"name": name},
    }


def _report(api: ApiClient, name: str, gpus: int) -> None:
    status = {
        "bootID": "boot",
        "heartbeatTime": now(),
        "gpuCount": gpus,
        "healthyCount": gpus,
        "gpus": [
            {
                "uuid": gpu_uuid(name, index),
                "product": "NVIDIA L4",
                "memory": "23034Mi",
                "health": "Healthy",
            }
            for index in range(gpus)
        ],
    }
    api.merge(f"{GPU_NODES}/{name}/status", {"status": status})
