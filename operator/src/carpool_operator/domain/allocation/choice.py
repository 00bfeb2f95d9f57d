"""Chooses slots: a heap for each kind of executor that has asked lately.

To a job that has nobody on a node, the node is worth the same as to any other job in the same
terms; so all of them share a heap, and each has one of its own for the nodes that it is on. A job
that is on many nodes has one for all nodes instead. Which way is taken makes no difference to what
is chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from carpool_operator.domain.allocation.eligibility import Eligibility, Wants
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.pack import Pack
from carpool_operator.domain.allocation.policy import Policy
from carpool_operator.domain.allocation.slot_heap import SlotHeap
from carpool_operator.domain.allocation.spread import Spread
from carpool_operator.domain.cluster_state import (
    JobDemand,
    Placement,
    Resources,
    Scheduling,
    Slot,
)

_KEPT = 512
"""Heaps and eligibilities of each sort; an entry of a heap takes about 300 bytes."""
_MANY = 4
"""A job on more than one node in so many is on many."""
_POLICIES: dict[Placement, Policy] = {"Spread": Spread(), "Pack": Pack()}

Others = tuple[Eligibility, ...]


class Choice:
    """The heaps; one that was dropped is made again and answers the same."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._eligibilities: OrderedDict[Any, Eligibility] = OrderedDict()
        self._heaps: OrderedDict[Any, SlotHeap] = OrderedDict()

    def eligibility(
        self,
        demand: JobDemand,
        requests: Resources | None = None,
        scheduling: Scheduling | None = None,
    ) -> Eligibility:
        """Of executors of the job that ask for this; by default for what the job itself says."""
        wants = Wants(
            demand,
            demand.executor_requests if requests is None else requests,
            demand.executor_scheduling if scheduling is None else scheduling,
        )
        key = (demand.uid, wants.requests, id(wants.scheduling))
        found = self._eligibilities.get(key)
        # What is kept keeps its scheduling alive, so the id is no other's; terms may have changed.
        if found is None or found.wants.demand is not demand:
            found = self._eligibilities[key] = Eligibility(wants, self._ledger)
        _keep(self._eligibilities, key)
        return found

    def best(self, eligibility: Eligibility, now: float, left_to: Others = ()) -> Slot | None:
        """The slot to give to such an executor, None where there is none.

        Args:
            eligibility: of the executor.
            now: Unix time.
            left_to: others whose eligible slots are not taken.
        """
        own = self._ledger.nodes_of(eligibility.wants.demand.uid)
        if len(own) * _MANY > len(self._ledger.nodes):
            found = self._own_heap(eligibility, left_to, everywhere=True).best(now)
            return found[1] if found else None
        elsewhere = self._newcomers_heap(eligibility, left_to).best(now, without=own)
        if not own:
            return elsewhere[1] if elsewhere else None
        here = self._own_heap(eligibility, left_to, everywhere=False).best(now)
        both = [found for found in (elsewhere, here) if found is not None]
        return min(both)[1] if both else None

    def forget_job(self, uid: str) -> None:
        """Drop what is kept for a job alone."""
        for kept in (self._eligibilities, self._heaps):
            for key in [key for key in kept if key[0] == uid]:
                del kept[key]

    def _own_heap(self, eligibility: Eligibility, left_to: Others, *, everywhere: bool) -> SlotHeap:
        wants = eligibility.wants
        within = None if everywhere else self._ledger.nodes_of(wants.demand.uid)
        return self._heap(
            (wants.demand.uid, eligibility, left_to, everywhere),
            lambda: SlotHeap(
                eligibility, _policy(wants), self._ledger, left_to=left_to, within=within
            ),
        )

    def _newcomers_heap(self, eligibility: Eligibility, left_to: Others) -> SlotHeap:
        """For any job in the same terms, as one that is on no node yet."""
        wants = eligibility.wants
        demand = wants.demand
        terms = (
            demand.device,
            demand.placement,
            demand.executors_per_gpu,
            demand.gpu_memory,
            demand.shared_with,
            "" if demand.shared_with == "Job" else demand.namespace,
        )

        def made() -> SlotHeap:
            anyone = Wants(replace(demand, uid=""), wants.requests, wants.scheduling)
            return SlotHeap(
                Eligibility(anyone, self._ledger), _policy(wants), self._ledger, left_to=left_to
            )

        return self._heap((None, terms, wants.requests, id(wants.scheduling), left_to), made)

    def _heap(self, key: Any, make: Callable[[], SlotHeap]) -> SlotHeap:
        found = self._heaps.get(key)
        if found is None:
            found = self._heaps[key] = make()
        _keep(self._heaps, key)
        return found


def _policy(wants: Wants) -> Policy:
    return _POLICIES[wants.demand.placement]


def _keep(kept: OrderedDict[Any, Any], key: Any) -> None:
    """Note that this was used last, and drop what was used longest ago."""
    kept.move_to_end(key)
    if len(kept) > _KEPT:
        kept.popitem(last=False)
