"""What Prometheus is told of GPUs and of executors that wait."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.reconcile.allocation_metrics import AllocationMetrics
from support.clusters import NOW, confirm, executor, gpus, job, node


def metrics(made: ClusterAllocator, now: float = NOW) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(AllocationMetrics(lambda: made.census(now)))
    return registry


def cluster() -> ClusterAllocator:
    """Two nodes with four GPUs, of which one is lost."""
    made = ClusterAllocator()
    for name in ("n0", "n1"):
        made.node_seen(node(name))
    made.gpus_seen(gpus("n0", 2))
    made.gpus_seen(gpus("n1", 2, g1="Lost"))
    return made


def test_gpus_are_counted_by_health_and_healthy_ones_by_their_executors():
    made = cluster()
    demand = job("first", 4, executors_per_gpu=2)
    made.job_seen(demand)
    for number in range(4):
        made.pod_seen(executor(demand, number))
    confirm(made, made.assign(NOW))
    registry = metrics(made)
    assert registry.get_sample_value("carpool_gpus", {"health": "Healthy"}) == 3
    assert registry.get_sample_value("carpool_gpus", {"health": "Lost"}) == 1
    assert registry.get_sample_value("carpool_healthy_gpus", {"executors": "1"}) == 2
    assert registry.get_sample_value("carpool_healthy_gpus", {"executors": "2"}) == 1
    assert registry.get_sample_value("carpool_gpu_unevenness") == 1


def test_gpus_of_an_agent_that_is_silent_and_gpus_that_are_gone_are_told_apart():
    made = cluster()
    demand = job("first", 1)
    made.job_seen(demand)
    made.pod_seen(replace(executor(demand, 1), gated=False, node="n0", gpu="GPU-n0-gone"))
    registry = metrics(made, NOW + 1000)
    assert registry.get_sample_value("carpool_gpus", {"health": "Stale"}) == 4
    assert registry.get_sample_value("carpool_gpus", {"health": "Unreported"}) == 1
    assert registry.get_sample_value("carpool_gpu_unevenness") == 0


def test_executors_at_the_gate_are_counted_by_what_they_wait_for():
    made = cluster()
    demand = job("first", 5)
    made.job_seen(demand)
    for number in range(5):
        made.pod_seen(executor(demand, number))
    refused, *assigned = made.assign(NOW)
    confirm(made, assigned)
    made.refused(refused, NOW)
    registry = metrics(made)
    assert registry.get_sample_value("carpool_executors_waiting", {"for": "slot"}) == 2
    assert registry.get_sample_value("carpool_executors_waiting", {"for": "retry"}) == 1
