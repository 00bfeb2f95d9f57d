"""What of a node and of its GPUs the operator keeps."""

from __future__ import annotations

from carpool_operator.domain.cluster_state import Gpu, GpuInventory, Node, Resources, Taint
from carpool_operator.domain.observed.gpu_nodes import observed_gpus
from carpool_operator.domain.observed.nodes import observed_node

NODE = {
    "metadata": {"name": "node-1", "labels": {"pool": "a"}},
    "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}], "unschedulable": True},
    "status": {
        "conditions": [
            {"type": "MemoryPressure", "status": "False"},
            {"type": "Ready", "status": "True"},
        ],
        "allocatable": {"cpu": "3920m", "memory": "15Gi", "pods": "110", "nvidia.com/gpu": "4"},
    },
}
GPU_NODE = {
    "metadata": {"name": "node-1"},
    "status": {
        "bootID": "boot",
        "driverVersion": "570",
        "heartbeatTime": "2026-01-01T00:00:00Z",
        "gpuCount": 2,
        "healthyCount": 1,
        "gpus": [
            {"uuid": "GPU-1", "product": "L4", "memory": "24Gi", "health": "Healthy"},
            {"uuid": "GPU-2", "product": "L4", "memory": "1G", "health": "Lost", "numaNode": 1},
        ],
    },
}


def test_a_node_is_its_condition_labels_taints_and_room():
    assert observed_node(NODE) == Node(
        name="node-1",
        ready=True,
        unschedulable=True,
        labels={"pool": "a"},
        taints=(Taint("gpu", "", "NoSchedule"),),
        allocatable=Resources(3920, 15 << 30, 110, (("nvidia.com/gpu", 4),)),
    )


def test_gpus_of_the_kubelet_stay_counted_while_the_device_plugin_is_away():
    capacity = {"cpu": "4", "nvidia.com/gpu": "4", "nvidia.com/mig-1g.10gb": "7"}
    away = {"capacity": capacity, "allocatable": {"cpu": "4", "nvidia.com/gpu": "0"}}
    found = observed_node(NODE | {"status": away})
    assert dict(found.allocatable.extended) == {"nvidia.com/gpu": 0}
    assert found.kubelet_gpus == 11
    gone = {"capacity": {"cpu": "4", "nvidia.com/gpu": "0", "x/fpga": "1"}}
    assert observed_node(NODE | {"status": gone}).kubelet_gpus == 0


def test_a_node_without_news_is_not_ready():
    found = observed_node({"metadata": {"name": "node-1"}})
    assert not found.ready
    assert found.allocatable == Resources()


def test_a_node_whose_readiness_is_unknown_is_not_ready():
    raw = NODE | {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    assert not observed_node(raw).ready


def test_gpus_are_kept_by_uuid_with_memory_in_bytes():
    assert observed_gpus(GPU_NODE) == GpuInventory(
        node="node-1",
        boot_id="boot",
        heartbeat=1767225600.0,
        gpus=(
            Gpu("GPU-1", "L4", 24 << 30, "Healthy"),
            Gpu("GPU-2", "L4", 10**9, "Lost", 1),
        ),
    )


def test_an_agent_that_has_reported_nothing_gives_no_inventory():
    assert observed_gpus({"metadata": {"name": "node-1"}}) is None
