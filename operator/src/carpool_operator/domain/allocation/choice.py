"""Chooses slots: a heap for each kind of executor that has asked lately.

To a job that has nobody on a node, the node is worth the same as to any other job in the same
terms; so all of them share a heap, and each has one of its own for the nodes that it is on. A job
that is on many nodes has one for all nodes instead. Which way is taken makes no difference to what
is chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from carpool_operator.domain.allocation.claims import Claims
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
"""Heaps; an entry of one takes about 300 bytes."""
_KEPT_ELIGIBILITIES = 4096
_MANY = 4
"""A job on more than one node in so many is on many."""
_POLICIES: dict[Placement, Policy] = {"Spread": Spread(), "Pack": Pack()}


class Choice:
    """The heaps; one that was dropped is made again and answers the same."""

    def __init__(self, ledger: Ledger, claims: Claims) -> None:
        self._ledger = ledger
        self._claims = claims
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
        _keep(self._eligibilities, key, _KEPT_ELIGIBILITIES)
        return found

    def anyone(self, like: Eligibility) -> Eligibility:
        """Of executors of any job in the same terms that is on no node yet."""
        wants, demand = like.wants, like.wants.demand
        terms = (
            demand.device,
            demand.placement,
            demand.executors_per_gpu,
            demand.gpu_memory,
            demand.shared_with,
            "" if demand.shared_with == "Job" else demand.namespace,
        )
        key = (None, terms, wants.requests, id(wants.scheduling))
        found = self._eligibilities.get(key)
        if found is None:
            anyone = Wants(replace(demand, uid=""), wants.requests, wants.scheduling)
            found = self._eligibilities[key] = Eligibility(anyone, self._ledger)
        _keep(self._eligibilities, key, _KEPT_ELIGIBILITIES)
        return found

    def best(
        self, eligibility: Eligibility, now: float, *, leaving_claims: bool = False
    ) -> Slot | None:
        """The slot to give to such an executor, None where there is none.

        Args:
            eligibility: of the executor.
            now: Unix time.
            leaving_claims: whether what others claim is left to them.
        """
        own = self._ledger.nodes_of(eligibility.wants.demand.uid)
        if len(own) * _MANY > len(self._ledger.nodes):
            found = self._heap(eligibility, leaving_claims).best(now)
            return found[1] if found else None
        anyone = self._heap(self.anyone(eligibility), leaving_claims)
        elsewhere = anyone.best(now, without=own)
        if not own:
            return elsewhere[1] if elsewhere else None
        here = self._heap(eligibility, leaving_claims, own).best(now)
        both = [found for found in (elsewhere, here) if found is not None]
        return min(both)[1] if both else None

    def forget_job(self, uid: str) -> None:
        """Drop what is kept for a job alone."""
        for key in [key for key in self._eligibilities if key[0] == uid]:
            del self._eligibilities[key]
        for key in [key for key in self._heaps if key[0].wants.demand.uid == uid]:
            del self._heaps[key]

    def _heap(
        self,
        eligibility: Eligibility,
        leaving_claims: bool,
        within: Mapping[str, object] | None = None,
    ) -> SlotHeap:
        key = (eligibility, leaving_claims, within is None)
        found = self._heaps.get(key)
        if found is None:
            policy = _POLICIES[eligibility.wants.demand.placement]
            found = self._heaps[key] = SlotHeap(
                eligibility,
                policy,
                self._ledger,
                claims=self._claims if leaving_claims else None,
                within=within,
            )
        _keep(self._heaps, key, _KEPT)
        return found


def _keep(kept: OrderedDict[Any, Any], key: Any, most: int) -> None:
    """Note that this was used last, and drop what was used longest ago."""
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
