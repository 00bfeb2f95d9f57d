"""Chooses slots: a heap for each kind of executor that has asked lately."""

from __future__ import annotations

from collections import OrderedDict

from carpool_operator.domain.allocation.eligibility import Eligibility, Wants
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.pack import Pack
from carpool_operator.domain.allocation.policy import Policy
from carpool_operator.domain.allocation.slot_heap import SlotHeap
from carpool_operator.domain.allocation.spread import Spread
from carpool_operator.domain.cluster_state import JobDemand, Placement, Resources, Scheduling

_KEPT = 256
"""Heaps; each has an entry of about 300 bytes for a node."""
_POLICIES: dict[Placement, Policy] = {"Spread": Spread(), "Pack": Pack()}


class Choice:
    """The heaps; one that was dropped is made again and answers the same."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._heaps: OrderedDict[tuple[str, Resources, int], SlotHeap] = OrderedDict()

    def heap(
        self,
        demand: JobDemand,
        requests: Resources | None = None,
        scheduling: Scheduling | None = None,
    ) -> SlotHeap:
        """For executors of the job that ask for this; by default what the job itself says."""
        if requests is None:
            requests = demand.executor_requests
        if scheduling is None:
            scheduling = demand.executor_scheduling
        key = (demand.uid, requests, id(scheduling))
        found = self._heaps.get(key)
        # The heap keeps its scheduling alive, so the id is no other's; the terms may have changed.
        if found is None or found.eligibility.wants.demand is not demand:
            wants = Wants(demand, requests, scheduling)
            policy = _POLICIES[demand.placement]
            found = SlotHeap(Eligibility(wants, self._ledger), policy, self._ledger)
            self._heaps[key] = found
            if len(self._heaps) > _KEPT:
                self._heaps.popitem(last=False)
        self._heaps.move_to_end(key)
        return found

    def forget_job(self, uid: str) -> None:
        """Drop the heaps of a job."""
        for key in [key for key in self._heaps if key[0] == uid]:
            del self._heaps[key]
