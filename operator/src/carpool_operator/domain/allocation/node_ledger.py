"""What one node and its GPUs carry; see `ledger`, which alone changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from carpool.spec.gpu import KUBELET_GPUS, is_kubelets
from carpool_operator.domain.allocation.policy import Key, Policy
from carpool_operator.domain.allocation.sharing import may_share, memory_budget
from carpool_operator.domain.cluster_state import (
    Gpu,
    GpuInventory,
    JobDemand,
    Node,
    Resources,
    Slot,
)

STALE_AFTER = 90.0
"""Seconds after which what an agent reported is not relied upon."""


class GpuLedger:
    """One GPU of a node.

    Attributes:
        slot: of an executor on it.
        gpu: as its agent reports it; None: the agent does not, or has not yet.
        jobs: executors by job.
        executors: of all jobs.
        limit: the most executors that the jobs on it accept.
        memory_used: bytes of the budgets of its executors.
        memory_share: part of its memory that they take.
        open: whether it takes another executor of some job. A GPU with a job whose terms are not
            known takes nobody.
        wrong: whether some of what is on it may have to go.
    """

    __slots__ = (
        "executors",
        "gpu",
        "jobs",
        "limit",
        "memory_share",
        "memory_used",
        "open",
        "slot",
        "uuid",
        "wrong",
    )

    def __init__(self, node: str, uuid: str) -> None:
        self.uuid = uuid
        self.slot = Slot(node, uuid)
        self.gpu: Gpu | None = None
        self.jobs: dict[str, int] = {}
        self.executors = 0
        self.limit = 0
        self.memory_used = 0
        self.memory_share = 0.0
        self.open = False
        self.wrong = False

    @property
    def healthy(self) -> bool:
        """Whether its agent reports it so."""
        return self.gpu is not None and self.gpu.health == "Healthy"

    def settle(self, demands: Mapping[str, JobDemand]) -> None:
        """Derive what follows from `gpu` and `jobs`."""
        self.executors = sum(self.jobs.values())
        known = [demands[uid] for uid in self.jobs if uid in demands]
        self.limit = min((demand.executors_per_gpu for demand in known), default=0)
        self.memory_used = 0
        if self.gpu is not None:
            for demand in known:
                self.memory_used += self.jobs[demand.uid] * memory_budget(demand, self.gpu)
        self.memory_share = (
            self.memory_used / self.gpu.memory if self.gpu and self.gpu.memory else 0.0
        )
        strangers = len(known) < len(self.jobs)
        room = not self.jobs or self.executors < self.limit
        self.open = self.healthy and not strangers and room
        self.wrong = bool(self.jobs) and not (self.healthy and self._agree(known))

    def _agree(self, known: Sequence[JobDemand]) -> bool:
        """Whether the executors of known jobs may stay together, all of them."""
        count = sum(self.jobs[demand.uid] for demand in known)
        return (
            (not known or count <= self.limit)
            and (self.gpu is None or self.memory_used <= self.gpu.memory)
            and all(
                may_share(one, another)
                for index, one in enumerate(known)
                for another in known[:index]
            )
        )


class NodeLedger:
    """One node.

    Attributes:
        slot: of an executor whose slot is the node.
        node: as the API server has it; None: it does not, or has not yet.
        inventory: its GPUs as their agent reports them; None: no agent does.
        gpus: those of the inventory, and others that entries name.
        cpu, memory, pods, extended: what entries ask for together.
        lasting: pods that are not ours, by what they ask for.
        gpu_executors: on its GPUs, those included for whom a slot is held.
        held_by_uuid: of `gpu_executors`, slots that are held.
        held_of_kubelet: whole GPUs of the kubelet's that are asked for by slots that are held.
        node_executors: of jobs whose slots are nodes, by job.
        healthy: number of its GPUs that are.
        load: executors on its GPUs, per healthy GPU.
        kubelet_gpus: whole GPUs that pods may ask the kubelet for here.
    """

    __slots__ = (
        "_kubelets",
        "_open",
        "cpu",
        "extended",
        "gpu_executors",
        "gpus",
        "healthy",
        "held_by_uuid",
        "held_of_kubelet",
        "inventory",
        "kubelet_gpus",
        "lasting",
        "load",
        "memory",
        "name",
        "node",
        "node_executors",
        "pods",
        "slot",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.slot = Slot(name)
        self.node: Node | None = None
        self.inventory: GpuInventory | None = None
        self.gpus: dict[str, GpuLedger] = {}
        self.cpu = 0
        self.memory = 0
        self.pods = 0
        self.extended: Counter[str] = Counter()
        self.lasting: Counter[Resources] = Counter()
        self.gpu_executors = 0
        self.held_by_uuid = 0
        self.held_of_kubelet = 0
        self.node_executors: Counter[str] = Counter()
        self.healthy = 0
        self.load = 0.0
        self.kubelet_gpus = 0
        self._kubelets = False
        self._open: dict[Policy, list[tuple[Key, GpuLedger]]] = {}

    def open_gpus(self, policy: Policy) -> list[tuple[Key, GpuLedger]]:
        """GPUs that take another executor of some job, by the least key that one may have."""
        found = self._open.get(policy)
        if found is None:
            found = self._open[policy] = sorted(
                (policy.least(self, gpu), gpu) for gpu in self.gpus.values() if gpu.open
            )
        return found

    @property
    def has_gpus(self) -> bool:
        """Whether executors on CPUs would stand in the way of others here."""
        return self.inventory is not None or self._kubelets

    @property
    def node_load(self) -> float:
        """Executors whose slot is the node, per core.

        Where the kubelet hands out GPUs: per GPU, and pods with GPUs if they are more, whosever.
        """
        executors = self.node_executors.total()
        if self.kubelet_gpus:
            return max(executors, self.kubelet_gpus_taken) / self.kubelet_gpus
        cores = self.node.allocatable.cpu / 1000 if self.node else 0.0
        return executors / (cores or 1)

    @property
    def kubelet_gpus_taken(self) -> int:
        """Whole GPUs that pods have been given by the kubelet, or are to be."""
        return self.extended.get(KUBELET_GPUS, 0)

    @property
    def is_kubelets(self) -> bool:
        """Whether the kubelet hands out its GPUs, or pods still have some that it handed out."""
        return self._kubelets or any(
            is_kubelets(name) and amount > (self.held_of_kubelet if name == KUBELET_GPUS else 0)
            for name, amount in self.extended.items()
        )

    @property
    def has_executors_by_uuid(self) -> bool:
        """Whether executors have GPUs of it by UUID; a slot that is held is nobody's yet."""
        return self.gpu_executors > self.held_by_uuid

    @property
    def cpu_share(self) -> float:
        """Part of its CPU that pods ask for."""
        return self.cpu / self.node.allocatable.cpu if self.node and self.cpu else 0.0

    def is_fresh(self, now: float) -> bool:
        """Whether the node's agent has confirmed its report lately."""
        return self.inventory is not None and now - self.inventory.heartbeat <= STALE_AFTER

    @property
    def executors(self) -> int:
        """Executors on it, whatever their slots are."""
        return self.gpu_executors + self.node_executors.total()

    def ask(self, requests: Resources, count: int) -> None:
        """Add what so many pods ask for."""
        self.cpu += count * requests.cpu
        self.memory += count * requests.memory
        self.pods += count * requests.pods
        for name, amount in requests.extended:
            self.extended[name] += count * amount

    def hold(self, slot: Slot, requests: Resources, count: int) -> None:
        """Note that so many of what is counted are slots that are held."""
        if slot.gpu is not None:
            self.held_by_uuid += count
        else:
            self.held_of_kubelet += count * dict(requests.extended).get(KUBELET_GPUS, 0)

    def see(self, node: Node | None) -> None:
        """Take in the node, or that it is gone."""
        self.node = node
        offered = dict(node.allocatable.extended) if node else {}
        self.kubelet_gpus = offered.get(KUBELET_GPUS, 0)
        self._kubelets = bool(node and node.kubelet_gpus) or any(
            amount and is_kubelets(name) for name, amount in offered.items()
        )

    def fits(self, requests: Resources) -> bool:
        """Whether a pod fits what others leave, as the scheduler counts."""
        return self.shortage(requests) is None

    def shortage(self, requests: Resources) -> str | None:
        """The name of a resource that the pod asks more of than others leave.

        A pod that asks nothing of a resource fits, however much others ask of it.
        """
        room = self.node.allocatable if self.node is not None else Resources()
        if requests.cpu and self.cpu + requests.cpu > room.cpu:
            return "CPU"
        if requests.memory and self.memory + requests.memory > room.memory:
            return "memory"
        if self.pods + requests.pods > room.pods:
            return "pods"
        if requests.extended:
            offered = dict(room.extended)
            for name, amount in requests.extended:
                if self.extended[name] + amount > offered.get(name, 0):
                    return name
        return None

    @property
    def overcommitted(self) -> bool:
        """Whether pods and what is held ask for more than it has."""
        room = self.node.allocatable if self.node is not None else Resources()
        offered = dict(room.extended)
        return (
            self.cpu > room.cpu
            or self.memory > room.memory
            or self.pods > room.pods
            or any(amount > offered.get(name, 0) for name, amount in self.extended.items())
        )

    def settle(self) -> None:
        """Derive what follows from the GPUs."""
        self._open.clear()
        self.load = self.gpu_executors / self.healthy if self.healthy else 0.0

    def count_healthy(self) -> None:
        """Count the GPUs that are."""
        self.healthy = sum(gpu.healthy for gpu in self.gpus.values())
        self.settle()

    @property
    def empty(self) -> bool:
        """Whether nothing is known of it and nothing is on it."""
        return (
            self.node is None
            and self.inventory is None
            and not self.gpus
            and not self.pods
            and not self.node_executors
        )
