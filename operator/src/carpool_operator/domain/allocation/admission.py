"""Which job gets its slots next, while several wait for a reservation.

A job's required executors get their slots at once or none does. The patience of a job ends after
five minutes. Of those whose patience is over the one that has waited longest goes first; then the
others of them, then all others: those whose namespace holds fewer GPUs, then the older. What jobs
ahead can have now is set aside for them, and slots that those whose patience is over lack are left
to them (`claims`), or smaller jobs would slip past them for ever. A job that would not fit if all
executors ended keeps nobody off anything.

Nobody starves: every job becomes the one that has waited longest, and that one gets its slots when
the executors on them have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from carpool_operator.domain.allocation.choice import Choice
from carpool_operator.domain.allocation.claims import Claims, Keeper
from carpool_operator.domain.allocation.ledger import Entry, Ledger
from carpool_operator.domain.cluster_state import JobDemand, Slot

PATIENCE_SECONDS = 300.0


class Admission:
    """The queue of jobs that wait for a reservation."""

    def __init__(self, ledger: Ledger, choice: Choice, claims: Claims) -> None:
        self._ledger = ledger
        self._choice = choice
        self._claims = claims
        self._queue: dict[str, JobDemand] = {}
        self._keepers: dict[str, tuple[JobDemand, Keeper]] = {}

    def __contains__(self, job_uid: str) -> bool:
        return job_uid in self._queue

    def enter(self, demand: JobDemand) -> None:
        """The job waits, in these terms."""
        self._queue[demand.uid] = demand

    def leave(self, job_uid: str) -> None:
        """The job waits no longer."""
        self._queue.pop(job_uid, None)
        self._keepers.pop(job_uid, None)

    def next_patience_end(self, now: float) -> float | None:
        """When the next waiting job will have waited over five minutes."""
        ends = [_since(demand) + PATIENCE_SECONDS for demand in self._queue.values()]
        return min((end for end in ends if end > now), default=None)

    def order(self, now: float) -> list[JobDemand]:
        """The queue, first to last."""
        longest = self._longest_waiting(now)

        def place(demand: JobDemand) -> tuple[bool, bool, int, float, str]:
            held = self._ledger.gpus_held if demand.device == "GPU" else self._ledger.nodes_held
            return (
                demand is not longest,
                not _is_impatient(demand, now),
                held[demand.namespace],
                _since(demand),
                demand.uid,
            )

        return sorted(self._queue.values(), key=place)

    def claim(self, now: float) -> bool:
        """Have jobs whose patience is over claim slots; whether any are claimed."""
        self._settle(self.order(now), now)
        return bool(self._claims)

    def fitting(self, now: float, last: str | None = None) -> dict[str, list[Slot]]:
        """Slots that jobs of the queue can have now, in its order, each beside those before it.

        Args:
            now: Unix time.
            last: uid of the job after which nothing needs to be known.
        """
        order = self.order(now)
        self._settle(order, now)
        found: dict[str, list[Slot]] = {}
        with self._trial() as try_out:
            for demand in order:
                # A job claims what is free first: if not all that it claims is, too little is,
                # unless one before it got other slots than it had claimed.
                if found or self._claims.is_usable(demand.uid) is not False:
                    self._claims.lift(demand.uid)
                    slots = try_out(demand, now, leaving_claims=True)
                    if slots is None:
                        self._claims.put_back(demand.uid)
                    else:
                        found[demand.uid] = slots
                if demand.uid == last:
                    break
        for uid in found:
            self._claims.put_back(uid)
        return found

    def fits_alone(self, demand: JobDemand, now: float) -> bool:
        """Whether the job would fit if nobody else waited."""
        with self._trial() as try_out:
            return try_out(demand, now, leaving_claims=False) is not None

    def _settle(self, order: list[JobDemand], now: float) -> None:
        self._claims.settle(
            [self._keeper(demand) for demand in order if _is_impatient(demand, now)], now
        )

    def _keeper(self, demand: JobDemand) -> Keeper:
        known = self._keepers.get(demand.uid)
        if known is None or known[0] is not demand:
            anyone = self._choice.anyone(self._choice.eligibility(demand))
            known = self._keepers[demand.uid] = demand, Keeper(demand.uid, anyone, demand.required)
        return known[1]

    def _longest_waiting(self, now: float) -> JobDemand | None:
        """The job that has waited longest of those that would fit if all executors ended."""
        impatient = [
            (_since(demand), uid, demand)
            for uid, demand in self._queue.items()
            if _is_impatient(demand, now)
        ]
        for _, _, demand in sorted(impatient):
            if self._claims.is_within_reach(self._keeper(demand), now):
                return demand
        return None

    @contextmanager
    def _trial(self) -> Iterator[Callable[..., list[Slot] | None]]:
        """Within it slots of several jobs are taken; at its end none is."""
        taken: list[Entry] = []

        def try_out(demand: JobDemand, now: float, *, leaving_claims: bool) -> list[Slot] | None:
            eligibility = self._choice.eligibility(demand)
            if eligibility.by_uuid and self._most_free(demand) < demand.required:
                return None
            before = len(taken)
            while len(taken) < before + demand.required:
                slot = self._choice.best(eligibility, now, leaving_claims=leaving_claims)
                if slot is None:
                    while len(taken) > before:
                        self._ledger.remove(taken.pop())
                    return None
                taken.append(Entry(slot, demand.uid, demand.executor_requests))
                self._ledger.add(taken[-1])
            return [entry.slot for entry in taken[before:]]

        try:
            yield try_out
        finally:
            while taken:
                self._ledger.remove(taken.pop())

    def _most_free(self, demand: JobDemand) -> int:
        """No fewer slots than the job could be given now, without looking at any."""
        places = self._ledger.free_gpus * demand.executors_per_gpu
        alone = demand.shared_with == "Job" and not self._ledger.gpus_of(demand.uid)
        return places if alone else places + self._ledger.open_slots


def _is_impatient(demand: JobDemand, now: float) -> bool:
    return now - _since(demand) >= PATIENCE_SECONDS


def _since(demand: JobDemand) -> float:
    return demand.created if demand.queued_since is None else demand.queued_since
