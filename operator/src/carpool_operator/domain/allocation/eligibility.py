"""Which slots an executor may be given.

A node is asked by the scheduler's own rules and for room; a GPU for its health, a free place, what
is left of its memory, and whether the jobs on it and the new one accept each other. What an agent
has not confirmed for 90 s is not relied upon: nobody new goes there.

A GPU has one owner. Where the kubelet hands GPUs out it may give any of them to anyone, so none is
given there by its UUID, and none is asked of it where executors have theirs by UUID. What is there
already stays: nobody can tell the kubelet which GPU is taken, but nobody new makes it worse.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.spec.gpu import KUBELET_GPUS
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.allocation.sharing import may_share, memory_budget
from carpool_operator.domain.cluster_state import JobDemand, Node, Resources, Scheduling

OF_KUBELET = "has GPUs that the kubelet hands out"
"""Why a node gives no GPU by its UUID, as the end of "the node …"."""
_SHARING = "nvidia.com/gpu.sharing-strategy"
"""Label of NVIDIA's GPU feature discovery: none, time-slicing or mps."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What one executor needs.

    Attributes:
        demand: of its job.
        requests: of its pod.
        scheduling: where its pod may run.
    """

    demand: JobDemand
    requests: Resources
    scheduling: Scheduling

    @classmethod
    def of_job(cls, demand: JobDemand) -> Wants:
        """What the job says of an executor that does not exist yet."""
        return cls(demand, demand.executor_requests, demand.executor_scheduling)

    @property
    def by_uuid(self) -> bool:
        """Whether it is given a GPU by its UUID, rather than a node.

        An executor on CPUs is given a node, and one that asks for a whole GPU of the kubelet's.
        """
        return self.demand.device == "GPU" and not self.exclusive

    @property
    def exclusive(self) -> bool:
        """Whether it asks the kubelet of its node for a whole GPU."""
        return KUBELET_GPUS in dict(self.requests.extended)


class Eligibility:
    """Asks nodes and GPUs for one kind of executor."""

    def __init__(self, wants: Wants, ledger: Ledger) -> None:
        self.wants = wants
        self.by_uuid = wants.by_uuid
        self.exclusive = wants.exclusive
        self._ledger = ledger
        self._mismatches: dict[str, tuple[Node, str | None]] = {}

    def takes(self, node: NodeLedger, now: float) -> bool:
        """Whether an executor may go to the node, as far as that does not depend on its GPUs."""
        return (
            self.matches(node)
            and not self.waits_for_others(node)
            and node.fits(self.wants.requests)
            and node.name not in self._ledger.avoided
            and (not self.by_uuid or node.is_fresh(now))
        )

    def matches(self, node: NodeLedger) -> bool:
        """Whether an executor may run on the node, whatever other executors are there."""
        return node.node is not None and self._mismatch(node, node.node) is None

    def waits_for_others(self, node: NodeLedger) -> bool:
        """Whether executors on the node have GPUs by UUID, of which its kubelet knows nothing."""
        return self.exclusive and node.has_executors_by_uuid

    def takes_gpu(self, gpu: GpuLedger) -> bool:
        """Whether the GPU, of a node that takes the executor, takes it too."""
        if not gpu.open or gpu.gpu is None:
            return False
        demand = self.wants.demand
        if not gpu.jobs:
            return memory_budget(demand, gpu.gpu) <= gpu.gpu.memory
        return (
            gpu.executors < demand.executors_per_gpu
            and gpu.memory_used + memory_budget(demand, gpu.gpu) <= gpu.gpu.memory
            and all(may_share(demand, self._ledger.demands[uid]) for uid in gpu.jobs)
        )

    def keeps(self, node: NodeLedger, uuid: str | None, now: float) -> bool:
        """Whether a slot that is held for the executor can be used; it is in the ledger already."""
        if (
            not self.matches(node)
            or self.waits_for_others(node)
            or node.name in self._ledger.avoided
            or node.overcommitted
        ):
            return False
        if uuid is None:
            return not self.by_uuid
        return self.by_uuid and node.is_fresh(now) and node.gpus[uuid].healthy

    def refusal(self, node: NodeLedger, now: float) -> str | None:
        """Why the node does not take the executor, as the end of "the node …"; None: it does."""
        if node.node is None:
            return "is gone"
        found = self._mismatch(node, node.node)
        if found is not None:
            return found
        if self.waits_for_others(node):
            return "has executors on GPUs of the pool, which must end first"
        if node.name in self._ledger.avoided:
            return "is avoided after a pod could not be scheduled there"
        if self.by_uuid and not node.is_fresh(now):
            silent = "has an agent that has been silent for over 90 s"
            return "has no GPUs" if node.inventory is None else silent
        short = node.shortage(self.wants.requests)
        return None if short is None else f"has too little {short} left"

    def _mismatch(self, ledger: NodeLedger, node: Node) -> str | None:
        """As the scheduler has it, which is remembered for as long as the node does not change."""
        known = self._mismatches.get(node.name)
        if known is None or known[0] is not node:
            found = mismatch(node, self.wants.scheduling) or self._sharing(node)
            known = self._mismatches[node.name] = (node, found)
        if known[1] is None and self.by_uuid and ledger.is_kubelets:
            return OF_KUBELET
        return known[1]

    def _sharing(self, node: Node) -> str | None:
        """That what the kubelet gives out as a GPU is a part of one, as NVIDIA's labels have it."""
        how = node.labels.get(_SHARING, "none")
        if not self.exclusive or how == "none":
            return None
        return f"shares each of its GPUs between pods ({_SHARING}={how})"
