"""What one job has: its executors, and the slots that are held for more of them.

A reservation is a slot for each required executor. An executor that comes takes one of them, or
passes singly if none can be used any more; so what is held is what is reserved, less what the job's
executors have, and never more than the job still needs. Once they are there nothing is held, and
when one of them ends its slot is held again for the one that replaces it.

All of it follows from the pods and from the job's terms, so a restarted operator has it again.
"""

from __future__ import annotations

from collections import Counter

from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.allocation.ledger import Entry, Ledger
from carpool_operator.domain.cluster_state import JobDemand, Pod, Resources, Slot


class JobLedger:
    """One job, known by its pods, its terms, or both.

    Attributes:
        demand: the job's terms; None: it is not accepted, suspended, or has ended.
        pending: a reservation that no driver carries yet.
        drivers: reservations of its live drivers by uid of the pod.
        executors: slots of executors whose containers may still run, by uid of the pod.
        leaving: those of `executors` that are being deleted.
        held: slots that are held for executors to come, in the order of the reservation.
        outdated: whether `hold` must be called before `held` is relied upon.
        overfull: whether more is reserved than it still needs, so that something is left out.
    """

    __slots__ = (
        "_taken",
        "demand",
        "drivers",
        "executors",
        "held",
        "leaving",
        "outdated",
        "overfull",
        "pending",
        "uid",
    )

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.demand: JobDemand | None = None
        self.pending: Reservation | None = None
        self.drivers: dict[str, tuple[Slot, ...]] = {}
        self.executors: dict[str, Slot] = {}
        self.leaving: set[str] = set()
        self.held: Counter[Slot] = Counter()
        self._taken: Counter[Slot] = Counter()
        self.outdated = False
        self.overfull = False

    @property
    def reserved(self) -> tuple[Slot, ...]:
        """The slots of its reservation, used or not."""
        if self.drivers:
            return self.drivers[max(self.drivers)]
        return self.pending.slots if self.pending else ()

    @property
    def staying(self) -> int:
        """Executors that have a slot and are not being deleted."""
        return len(self.executors) - len(self.leaving)

    @property
    def requires_more(self) -> bool:
        """Whether fewer executors stay than it requires."""
        return self.demand is not None and self.staying < self.demand.required

    @property
    def may_have_more(self) -> bool:
        """Whether fewer executors stay than it may have."""
        return self.demand is not None and self.staying < self.demand.executors

    @property
    def settled(self) -> bool:
        """Whether what is held is all that is to be held."""
        return not (self.outdated or self.overfull)

    @property
    def empty(self) -> bool:
        """Whether nothing is known of it."""
        return not (self.demand or self.pending or self.drivers or self.executors)

    def see_demand(self, demand: JobDemand | None, ledger: Ledger) -> None:
        """Take in its terms, or that it has none any more."""
        if demand == self.demand:
            return
        self._hold(Counter(), ledger)  # it was held in the old terms
        self.demand = demand
        if demand is not None:
            ledger.namespaces[self.uid] = demand.namespace
        ledger.see_demand(self.uid, demand)
        self.outdated = True

    def see_driver(self, pod: Pod) -> None:
        """Take in a driver; one that ends creates no executors any more."""
        if pod.reserved and not pod.deleting and not pod.ended:
            if self.drivers.get(pod.uid) != pod.reserved:
                self.drivers[pod.uid] = pod.reserved
                self.pending = None
                self.outdated = True
        else:
            self.forget_driver(pod.uid)

    def forget_driver(self, uid: str) -> None:
        """A driver is gone."""
        if self.drivers.pop(uid, None) is not None:
            self.outdated = True

    def take(self, uid: str, slot: Slot, ledger: Ledger) -> None:
        """An executor has a slot."""
        self.executors[uid] = slot
        self._taken[slot] += 1
        if self.outdated or self.overfull or not self.held[slot]:
            self.outdated = True
        else:
            self._hold_one(slot, -1, ledger)

    def give_back(self, uid: str) -> None:
        """An executor that had a slot has ended."""
        slot = self.executors.pop(uid)
        self.leaving.discard(uid)
        self._taken[slot] -= 1
        if not self._taken[slot]:
            del self._taken[slot]
        self.outdated = True

    def hold(self, ledger: Ledger) -> None:
        """Hold what follows from reservation, executors and terms."""
        self.outdated = self.overfull = False
        reserved = self.reserved
        needed = len(reserved)
        if self.demand is not None:
            needed = min(needed, self.demand.required)
        needed -= len(self.executors)
        wanted: Counter[Slot] = Counter()
        if needed > 0:
            wanted = Counter(reserved)
            for slot in wanted:
                wanted[slot] -= self._taken[slot]
            wanted = +wanted
            self.overfull = wanted.total() > needed
        if self.overfull:
            wanted = Counter(_usable_first(wanted, ledger)[:needed])
        self._hold(wanted, ledger)

    def _hold(self, wanted: Counter[Slot], ledger: Ledger) -> None:
        for slot in self.held.keys() | wanted.keys():
            change = wanted[slot] - self.held[slot]
            if change:
                self._hold_one(slot, change, ledger)
        # In the order of the reservation, whatever came when.
        self.held = Counter({slot: count for slot, count in wanted.items() if count})

    def _hold_one(self, slot: Slot, change: int, ledger: Ledger) -> None:
        requests = self.demand.executor_requests if self.demand else Resources()
        ledger.add(Entry(slot, self.uid, requests, held=True), change)
        self.held[slot] += change
        if not self.held[slot]:
            del self.held[slot]


def _usable_first(slots: Counter[Slot], ledger: Ledger) -> list[Slot]:
    """Slots in their order, those on GPUs and nodes that are not well at the end."""
    return sorted(slots.elements(), key=lambda slot: not _is_well(slot, ledger))


def _is_well(slot: Slot, ledger: Ledger) -> bool:
    node = ledger.nodes.get(slot.node)
    if node is None or node.node is None or not node.node.ready:
        return False
    return slot.gpu is None or (slot.gpu in node.gpus and node.gpus[slot.gpu].healthy)
