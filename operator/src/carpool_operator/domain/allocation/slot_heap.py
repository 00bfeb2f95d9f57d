"""The best slot for one kind of executor, without looking at all of them.

A heap holds one entry for each node that has an eligible slot: the key of its best one. Entries are
not mended when something changes; they are proven when they come up. That is right as long as no
entry says worse than the truth, so what may have become better is looked at first: the ledger
numbers its changes, and the heap has seen those up to a number. A new heap gives the same answer.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.allocation.policy import Key, Policy
from carpool_operator.domain.cluster_state import Slot


class SlotHeap:
    """The slots that an executor may be given, the policy's first choice on top."""

    def __init__(self, eligibility: Eligibility, policy: Policy, ledger: Ledger) -> None:
        self.eligibility = eligibility
        self._policy = policy
        self._ledger = ledger
        self._yielded: tuple[Eligibility, ...] = ()
        self._best: dict[str, tuple[Key, Slot]] = {}
        self._heap: list[tuple[Key, str]] = []
        self._seen = -1
        self._now = 0.0

    def best(self, now: float, yielded: tuple[Eligibility, ...] = ()) -> Slot | None:
        """The slot to give, None where there is none.

        Args:
            now: Unix time.
            yielded: whose eligible slots are left to them.
        """
        if yielded != self._yielded:
            self._yielded, self._seen = yielded, -1
        self._now = now
        self._catch_up()
        while self._heap:
            key, name = self._heap[0]
            listed = self._best.get(name)
            if listed is None or listed[0] != key:
                heappop(self._heap)  # another entry of the node has come instead
                continue
            self._look_at(name)
            if self._best.get(name) == listed:
                return listed[1]
        return None

    def _catch_up(self) -> None:
        ledger = self._ledger
        if self._seen < 0:
            self._best.clear()
            self._heap.clear()
            self._seen = ledger.number
            for name in ledger.nodes:
                self._look_at(name)
            return
        # Where slots are left to others, a slot that those can no longer use is a gain.
        watched = self._policy.prefers_loaded or self._yielded
        journal = ledger.changes if watched else ledger.eases
        for name, number in reversed(journal.items()):
            if number <= self._seen:
                break
            self._look_at(name)
        self._seen = ledger.number
        if len(self._heap) > 2 * len(self._best) + 64:
            self._heap = [(key, name) for name, (key, _) in self._best.items()]
            heapify(self._heap)

    def _look_at(self, name: str) -> None:
        """Find the node's best slot; its entry, if it is new, stands beside the outdated one."""
        node = self._ledger.nodes.get(name)
        found = None if node is None else self._best_of(node)
        if found is None:
            self._best.pop(name, None)
        elif self._best.get(name) != found:
            self._best[name] = found
            heappush(self._heap, (found[0], name))

    def _best_of(self, node: NodeLedger) -> tuple[Key, Slot] | None:
        eligibility, policy = self.eligibility, self._policy
        if not eligibility.takes(node, self._now):
            return None
        job_uid = eligibility.wants.demand.uid
        if not eligibility.by_uuid:
            if self._left_to_others(node, None):
                return None
            return policy.of_node(node, job_uid), Slot(node.name)
        best: tuple[Key, Slot] | None = None
        for gpu in node.open_gpus:
            if eligibility.takes_gpu(gpu) and not self._left_to_others(node, gpu):
                key = policy.of_gpu(node, gpu, job_uid)
                if best is None or key < best[0]:
                    best = key, Slot(node.name, gpu.uuid)
        return best

    def _left_to_others(self, node: NodeLedger, gpu: GpuLedger | None) -> bool:
        return any(
            other.by_uuid == (gpu is not None)
            and other.takes(node, self._now)
            and (gpu is None or other.takes_gpu(gpu))
            for other in self._yielded
        )
