"""The best slot for one kind of executor, without looking at all of them.

A heap holds one entry for each node that has an eligible slot: the key of its best one. Entries are
not mended when something changes; they are proven when they come up. That is right as long as no
entry says worse than the truth, so what may have become better is looked at first: the ledger
numbers its changes, and the heap has seen those up to a number. A new heap gives the same answer.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from heapq import heapify, heappop, heappush, heapreplace

from carpool_operator.domain.allocation.claims import Claims
from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.policy import Key, Policy
from carpool_operator.domain.cluster_state import Slot

Found = tuple[Key, Slot]


class SlotHeap:
    """The slots that an executor may be given, the policy's first choice on top."""

    def __init__(
        self,
        eligibility: Eligibility,
        policy: Policy,
        ledger: Ledger,
        *,
        claims: Claims | None = None,
        within: Mapping[str, object] | None = None,
    ) -> None:
        """Make a heap that looks at nodes when it is asked for the first time.

        Args:
            eligibility: of the executors.
            policy: that compares slots.
            ledger: what nodes and GPUs carry.
            claims: of others, which are left to them; None: all slots are taken.
            within: the nodes to choose among, a live view by name; None: all.
        """
        self._eligibility = eligibility
        self._policy = policy
        self._ledger = ledger
        self._claims = claims
        self._within = within
        self._journal = ledger.changes if policy.prefers_loaded else ledger.eases
        self._best: dict[str, Found] = {}
        self._heap: list[tuple[Key, str]] = []
        self._known: set[str] = set()  # of `within`, those that were looked at
        self._seen = -1
        self._now = 0.0

    def best(self, now: float, without: Container[str] = ()) -> Found | None:
        """The slot to give with its key, None where there is none.

        Args:
            now: Unix time.
            without: names of nodes that are passed over; few, since each is looked at.
        """
        self._now = now
        self._catch_up()
        heap, best = self._heap, self._best
        passed: list[tuple[Key, str]] = []
        answer = None
        while heap:
            key, name = heap[0]
            listed = best.get(name)
            if listed is None or listed[0] != key:
                heappop(heap)  # another entry of the node has come instead
            elif (found := self._find(name)) is None:
                heappop(heap)
                del best[name]
            elif found != listed:
                best[name] = found
                heapreplace(heap, (found[0], name))
            elif name in without:
                passed.append(heappop(heap))
            else:
                answer = found
                break
        for entry in passed:
            heappush(heap, entry)
        return answer

    def _catch_up(self) -> None:
        ledger, within, known = self._ledger, self._within, self._known
        if self._seen >= 0:
            for name, number in reversed(self._journal.items()):
                if number <= self._seen:
                    break
                if within is None or name in known:
                    self._look_at(name)
        elif within is None:
            for name in ledger.nodes:
                self._look_at(name)
        if within is not None:
            for name in within.keys() - known:
                self._look_at(name)
        self._seen = ledger.number
        if len(self._heap) > 2 * len(self._best) + 64:
            self._heap = [(key, name) for name, (key, _) in self._best.items()]
            heapify(self._heap)

    def _look_at(self, name: str) -> None:
        """Find the node's best slot; its entry, if it is new, stands beside the outdated one."""
        found = self._find(name)
        if self._within is not None:
            (self._known.add if name in self._within else self._known.discard)(name)
        if found is None:
            self._best.pop(name, None)
        elif self._best.get(name) != found:
            self._best[name] = found
            heappush(self._heap, (found[0], name))

    def _find(self, name: str) -> Found | None:
        node = self._ledger.nodes.get(name)
        if node is None or (self._within is not None and name not in self._within):
            return None
        eligibility, policy = self._eligibility, self._policy
        if not eligibility.takes(node, self._now):
            return None
        claims = self._claims
        if claims is not None and not claims.leave_room(node, eligibility.wants.requests):
            return None
        job_uid = eligibility.wants.demand.uid
        if not eligibility.by_uuid:
            return policy.of_node(node, job_uid), node.slot
        best: Found | None = None
        for least, gpu in node.open_gpus(policy):
            if best is not None and best[0] <= least:
                break
            if not eligibility.takes_gpu(gpu):
                continue
            if claims is not None and claims.has_gpu(name, gpu.uuid):
                continue
            key = policy.of_gpu(node, gpu, job_uid)
            if best is None or key < best[0]:
                best = key, gpu.slot
        return best
