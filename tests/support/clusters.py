"""Nodes, GPUs, jobs and pods for tests of the allocator, and a cluster that they live in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from carpool.spec.gpu import KUBELET_GPUS
from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.allocation.interface import Allocator, Assignment
from carpool_operator.domain.cluster_state import (
    Gpu,
    GpuInventory,
    Health,
    JobDemand,
    Node,
    Pod,
    Resources,
    Scheduling,
    Slot,
)

NOW = 1_767_225_600.0
GIB = 1 << 30
EXECUTOR = Resources(cpu=1000, memory=GIB, pods=1)
WHOLE = replace(EXECUTOR, extended=((KUBELET_GPUS, 1),))
"""Of an executor that asks the kubelet for a whole GPU."""


def node(name: str, *, cpu: int = 64_000, memory: int = 256 * GIB, **changes: Any) -> Node:
    room = Resources(cpu, memory, 110)
    return replace(Node(name, True, False, {}, (), room), **changes)


def kubelet_node(
    name: str,
    count: int,
    *,
    capacity: int | None = None,
    resource: str = KUBELET_GPUS,
    **changes: Any,
) -> Node:
    """A node whose device plugin has given the kubelet so many GPUs."""
    room = Resources(64_000, 256 * GIB, 110, ((resource, count),))
    kubelet_gpus = count if capacity is None else capacity
    return node(name, allocatable=room, kubelet_gpus=kubelet_gpus, **changes)


def gpus(
    name: str, count: int = 8, *, heartbeat: float = NOW, memory: int = 24 * GIB, **health: Health
) -> GpuInventory:
    """GPUs of a node; `health` by the last part of the UUID, such as `g3="Lost"`."""
    return GpuInventory(
        name,
        "boot",
        heartbeat,
        tuple(
            Gpu(f"GPU-{name}-g{index}", "L4", memory, health.get(f"g{index}", "Healthy"))
            for index in range(count)
        ),
    )


def job(name: str, executors: int = 1, **changes: Any) -> JobDemand:
    demand = JobDemand(
        uid=f"uid-{name}",
        namespace="traffic",
        name=name,
        created=NOW,
        executors=executors,
        required=executors,
        executor_requests=EXECUTOR,
        executor_scheduling=Scheduling(),
        device="GPU",
    )
    return replace(demand, **changes)


def executor(demand: JobDemand, number: int, **changes: Any) -> Pod:
    """An executor of the job at the gate."""
    pod = Pod(
        uid=f"{demand.name}-{number}",
        namespace=demand.namespace,
        name=f"{demand.name}-exec-{number}",
        requests=demand.executor_requests,
        scheduling=demand.executor_scheduling,
        created=NOW + number,
        phase="Pending",
        job_uid=demand.uid,
        role="executor",
        gated=True,
    )
    return replace(pod, **changes)


def driver(demand: JobDemand, *reserved: Slot, **changes: Any) -> Pod:
    pod = Pod(
        uid=f"{demand.name}-driver",
        namespace=demand.namespace,
        name=f"{demand.name}-driver",
        requests=EXECUTOR,
        scheduling=Scheduling(),
        created=NOW,
        phase="Running",
        node="drivers",
        job_uid=demand.uid,
        role="driver",
        reserved=reserved,
    )
    return replace(pod, **changes)


def other(name: str, node_name: str, requests: Resources, **changes: Any) -> Pod:
    """A pod that is not ours."""
    pod = Pod(name, "default", name, requests, Scheduling(), NOW, "Running", node_name)
    return replace(pod, **changes)


def assigned(assignment: Assignment, now: float = NOW, **changes: Any) -> Pod:
    """The pod as the API server has it after the write."""
    slot = assignment.slot
    pod = replace(
        assignment.pod,
        node=slot.node,
        gpu=slot.gpu,
        gated=False,
        scheduling=Scheduling(),
        assigned=now,
    )
    return replace(pod, **changes)


def confirm(allocator: Allocator, assignments: list[Assignment], now: float = NOW) -> list[Slot]:
    """Write what was decided, as the engine does; gives the slots."""
    for assignment in assignments:
        allocator.pod_seen(assigned(assignment, now))
    return [assignment.slot for assignment in assignments]


def cluster(*nodes_of_gpus: int, heartbeat: float = NOW) -> ClusterAllocator:
    """An allocator that has heard of nodes n0, n1, …, with so many GPUs each."""
    made = ClusterAllocator()
    for index, count in enumerate(nodes_of_gpus):
        made.node_seen(node(f"n{index}"))
        made.gpus_seen(gpus(f"n{index}", count, heartbeat=heartbeat))
    return made


def run(allocator: Allocator, demand: JobDemand, *slots: Slot, first: int = 0) -> list[Pod]:
    """Executors of a job that run on these slots; the job is told too."""
    allocator.job_seen(demand)
    pods = [
        executor(
            demand,
            first + number,
            node=slot.node,
            gpu=slot.gpu,
            gated=False,
            phase="Running",
            assigned=NOW + number,
        )
        for number, slot in enumerate(slots)
    ]
    for pod in pods:
        allocator.pod_seen(pod)
    return pods


def on(node_name: str, index: int) -> Slot:
    """A GPU of a node."""
    return Slot(node_name, f"GPU-{node_name}-g{index}")
