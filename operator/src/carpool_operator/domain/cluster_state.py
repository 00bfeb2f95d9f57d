"""What the operator keeps of nodes, GPUs, pods and jobs: records of at most a kilobyte each.

A record holds what a decision needs and nothing else; the objects themselves are not kept. All are
immutable: an event brings a new record, so that what was decided upon cannot change under it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Health = Literal["Healthy", "Unhealthy", "Lost"]
Role = Literal["driver", "executor"]
Placement = Literal["Spread", "Pack"]
SharedWith = Literal["Job", "Namespace", "Any"]


@dataclass(frozen=True, slots=True)
class Resources:
    """What a pod asks for, or a node has.

    Attributes:
        cpu: millicores.
        memory: bytes.
        pods: 1 for a pod; for a node how many it may run.
        extended: other resources by name, such as `nvidia.com/gpu`.
    """

    cpu: int = 0
    memory: int = 0
    pods: int = 0
    extended: tuple[tuple[str, int], ...] = ()

    def plus(self, other: Resources, times: int = 1) -> Resources:
        """Together with `times` others that ask alike."""
        extended = Counter(dict(self.extended)) if other.extended else dict(self.extended)
        for name, amount in other.extended:
            extended[name] += times * amount
        return Resources(
            self.cpu + times * other.cpu,
            self.memory + times * other.memory,
            self.pods + times * other.pods,
            tuple(sorted(extended.items())),
        )


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node, as in core/v1."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster.

    Attributes:
        ready: its condition Ready is True.
        unschedulable: it was cordoned.
        allocatable: what its pods may ask for together.
        kubelet_gpus: GPUs, parts of GPUs and MIG devices that its kubelet hands out, by its
            capacity: that stays for some minutes when the device plugin is away and nothing of
            them is allocatable.
    """

    name: str
    ready: bool
    unschedulable: bool
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Resources
    kubelet_gpus: int = 0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device that executors can be given: a whole GPU, or a MIG device.

    Attributes:
        memory: bytes.
    """

    uuid: str
    product: str
    memory: int
    health: Health
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """The GPUs of a node, from its GPUNode.

    Attributes:
        node: name of the node.
        heartbeat: Unix time at which the agent last found this true.
    """

    node: str
    boot_id: str
    heartbeat: float
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an executor may run: a GPU of a node, or the node itself.

    The node is the slot of executors on CPUs, and of those to which its kubelet gives a GPU.
    """

    node: str
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Where a pod may run, by the Kubernetes API's own words (core/v1 PodSpec, as plain JSON)."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: Mapping[str, Any] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the cluster, ours or not.

    Attributes:
        requests: of all containers as the scheduler counts them (native sidecars are added).
        job_uid: the job that it belongs to; None for pods that are not ours.
        role: driver or executor of that job; None for pods that are not ours.
        attempt: of that job, from its label; None for pods that are not ours.
        node: that it is bound to, or pinned to by the operator; None while it waits.
        gpu: UUID that it was assigned.
        gated: whether our gate still holds it.
        held_by_others: whether another gate than ours holds it.
        created: Unix time.
        deleting: it has a deletionTimestamp.
        ended: all of its containers have ended, or never started and never will.
        phase: as the API server has it.
        assigned: Unix time at which our gate was opened; None before.
        annotated: it has annotations, so that one can be added to them.
        unschedulable_since: Unix time since which the scheduler finds no place; None otherwise.
        host_restarts: restarts of the model host's container.
        host_ended: Unix time of that container's last end.
        host_message: why, from its termination message: `Reason: sentence`, cut to 256 characters.
        reserved: on a driver: the slots held for executors, one entry each.
    """

    uid: str
    namespace: str
    name: str
    requests: Resources
    scheduling: Scheduling
    created: float
    phase: str
    node: str | None = None
    job_uid: str | None = None
    role: Role | None = None
    attempt: int | None = None
    gpu: str | None = None
    gated: bool = False
    held_by_others: bool = False
    deleting: bool = False
    ended: bool = False
    assigned: float | None = None
    annotated: bool = True
    unschedulable_since: float | None = None
    host_restarts: int = 0
    host_ended: float | None = None
    host_message: str | None = None
    reserved: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True)
class JobDemand:
    """What a job asks of the cluster.

    Attributes:
        created: Unix time; older jobs go first.
        executors: the most that may hold a slot.
        required: that must fit at once before the job may start (`minExecutors`).
        executor_requests: of one executor pod, with its sidecar.
        executor_scheduling: of one executor pod.
        device: GPU: each executor holds a slot of a GPU, or of a node where it asks the kubelet
            for `nvidia.com/gpu`. CPU: of a node.
        executors_per_gpu: the most executors of all jobs on one of its GPUs.
        gpu_memory: bytes of one executor; None: the GPU's, divided by executors_per_gpu.
        queued_since: Unix time since which it waits for a reservation; None: it asks for none, or
            only by calling `reserve`, and has waited since `created`.
    """

    uid: str
    namespace: str
    name: str
    created: float
    executors: int
    required: int
    executor_requests: Resources
    executor_scheduling: Scheduling
    device: Literal["GPU", "CPU"]
    executors_per_gpu: int = 1
    shared_with: SharedWith = "Job"
    gpu_memory: int | None = None
    placement: Placement = "Spread"
    queued_since: float | None = None
