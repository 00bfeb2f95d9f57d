"""How many executors nodes and GPUs take, counted rather than chosen."""

from __future__ import annotations

from collections.abc import Iterator

from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.allocation.sharing import memory_budget
from carpool_operator.domain.cluster_state import Resources

_UNBOUNDED = 1 << 20


def room(node: NodeLedger, requests: Resources) -> tuple[int, str]:
    """How many such pods the node still takes, and the resource that allows no more."""
    return min(_times(node, requests))


def room_without_executors(
    node: NodeLedger, requests: Resources, beside: Resources | None = None
) -> int:
    """How many such pods the node would take if all executors there ended, beside some others."""
    bare = NodeLedger(node.name)
    bare.see(node.node)
    for lasting, count in node.lasting.items():
        bare.ask(lasting, count)
    if beside is not None:
        bare.ask(beside, 1)
    return room(bare, requests)[0]


def places(gpu: GpuLedger, eligibility: Eligibility) -> int:
    """How many executors a GPU still takes that takes one."""
    demand = eligibility.wants.demand
    if gpu.gpu is None:
        return 0
    limit = min(demand.executors_per_gpu, gpu.limit) if gpu.jobs else demand.executors_per_gpu
    budget = memory_budget(demand, gpu.gpu)
    by_memory = (gpu.gpu.memory - gpu.memory_used) // budget if budget else _UNBOUNDED
    return min(limit - gpu.executors, by_memory)


def places_without_executors(gpu: GpuLedger, eligibility: Eligibility) -> int:
    """How many executors a GPU would take if all on it ended."""
    empty = GpuLedger(gpu.slot.node, gpu.uuid)
    empty.gpu = gpu.gpu
    return max(0, places(empty, eligibility))


def _times(node: NodeLedger, requests: Resources) -> Iterator[tuple[int, str]]:
    """For each resource how many such pods it allows."""
    offered = node.node.allocatable if node.node is not None else Resources()
    wanted = {"CPU": requests.cpu, "memory": requests.memory, "pods": requests.pods or 1}
    left = {
        "CPU": offered.cpu - node.cpu,
        "memory": offered.memory - node.memory,
        "pods": offered.pods - node.pods,
    }
    wanted |= dict(requests.extended)
    left |= {name: amount - node.extended[name] for name, amount in offered.extended}
    for name, amount in wanted.items():
        if amount:
            yield max(0, left.get(name, 0)) // amount, name
