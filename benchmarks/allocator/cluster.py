"""A cluster of records: nodes, GPUs, jobs and executors, as a restarted operator lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from carpool_operator.domain.allocation.interface import Assignment
from carpool_operator.domain.cluster_state import (
    Gpu,
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Resources,
    Scheduling,
    Slot,
    Taint,
)

NOW = 1_767_225_600.0
GIB = 1 << 30
EXECUTOR = Resources(cpu=4000, memory=16 * GIB, pods=1)
POOL = "carpool.dev/gpu-pool"
WHERE = Scheduling(
    node_selector={POOL: "true"},
    tolerations=({"key": POOL, "operator": "Exists", "effect": "NoSchedule"},),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the cluster is, and what runs on it."""

    nodes: int
    gpus: int
    jobs: int
    executors: int
    namespaces: int
    executors_per_gpu: int


def nodes(shape: Shape) -> Iterator[tuple[Node, GpuInventory]]:
    """Nodes of a pool for GPUs, tainted and labelled, with twenty labels as clouds have them."""
    labels = {f"topology.example.com/label-{index}": "some-value" for index in range(20)}
    for number in range(shape.nodes):
        name = f"gpu-{number:05}"
        yield (
            Node(
                name,
                True,
                False,
                labels | {POOL: "true", "kubernetes.io/hostname": name},
                (Taint(POOL, "", "NoSchedule"),),
                Resources(cpu=128_000, memory=1024 * GIB, pods=110),
            ),
            GpuInventory(
                name,
                "boot",
                NOW,
                tuple(
                    Gpu(f"GPU-{number:08x}-0000-4000-8000-{index:012x}", "L4", 24 * GIB, "Healthy")
                    for index in range(shape.gpus)
                ),
            ),
        )


def jobs(shape: Shape) -> list[JobDemand]:
    """Jobs that share GPUs with all others, in several namespaces."""
    each = shape.executors // shape.jobs
    return [
        JobDemand(
            uid=f"00000000-0000-4000-8000-{number:012}",
            namespace=f"team-{number % shape.namespaces}",
            name=f"job-{number}",
            created=NOW + number,
            executors=each,
            required=each,
            executor_requests=EXECUTOR,
            executor_scheduling=WHERE,
            device="GPU",
            executors_per_gpu=shape.executors_per_gpu,
            shared_with="Any",
        )
        for number in range(shape.jobs)
    ]


_numbers = count()


def executor(job: JobDemand, created: float = NOW) -> Pod:
    """An executor at the gate."""
    number = next(_numbers)
    return Pod(
        uid=f"11111111-0000-4000-8000-{number:012}",
        namespace=job.namespace,
        name=f"{job.name}-exec-{number}",
        requests=job.executor_requests,
        scheduling=job.executor_scheduling,
        created=created + number / 1000,
        phase="Pending",
        job_uid=job.uid,
        role="executor",
        gated=True,
    )


def driver(job: JobDemand, slots: tuple[Slot, ...]) -> Pod:
    """The driver that carries a reservation."""
    return Pod(
        uid=f"22222222-0000-4000-8000-{next(_numbers):012}",
        namespace=job.namespace,
        name=f"{job.name}-driver",
        requests=EXECUTOR,
        scheduling=Scheduling(),
        created=NOW,
        phase="Running",
        node="drivers",
        job_uid=job.uid,
        role="driver",
        reserved=slots,
    )


def written(assignment: Assignment) -> Pod:
    """An executor as the API server has it after its assignment."""
    slot = assignment.slot
    return replace(
        assignment.pod,
        node=slot.node,
        gpu=slot.gpu,
        gated=False,
        scheduling=Scheduling(),
        assigned=NOW,
    )
