"""Which job gets its slots next, while several wait for a reservation.

A job's required executors get their slots at once or none does. Among waiting jobs those go first
that have waited over five minutes; then those whose namespace holds fewer GPUs; then the older.
What jobs ahead can have now is set aside for them. A job that has waited over five minutes and does
not fit yet also keeps those behind it off every slot that it could use, or smaller ones would slip
past it for ever; one that would not fit into the empty cluster keeps nobody off anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from carpool_operator.domain.allocation.choice import Choice, Others
from carpool_operator.domain.allocation.ledger import Entry, Ledger
from carpool_operator.domain.allocation.room import capacity
from carpool_operator.domain.cluster_state import JobDemand, Slot

PATIENCE_SECONDS = 300.0


class Admission:
    """The queue of jobs that wait for a reservation."""

    def __init__(self, ledger: Ledger, choice: Choice) -> None:
        self._ledger = ledger
        self._choice = choice
        self._queue: dict[str, JobDemand] = {}
        self._possible: dict[str, tuple[int, JobDemand, bool]] = {}

    def __contains__(self, job_uid: str) -> bool:
        return job_uid in self._queue

    def enter(self, demand: JobDemand) -> None:
        """The job waits, in these terms."""
        self._queue[demand.uid] = demand

    def leave(self, job_uid: str) -> None:
        """The job waits no longer."""
        self._queue.pop(job_uid, None)
        self._possible.pop(job_uid, None)

    def next_patience_end(self, now: float) -> float | None:
        """When the next waiting job will have waited over five minutes."""
        ends = [_since(demand) + PATIENCE_SECONDS for demand in self._queue.values()]
        return min((end for end in ends if end > now), default=None)

    def order(self, now: float) -> list[JobDemand]:
        """The queue, first to last."""

        def place(demand: JobDemand) -> tuple[bool, int, float, str]:
            held = self._ledger.gpus_held if demand.device == "GPU" else self._ledger.nodes_held
            return (
                not self._is_impatient(demand, now),
                held[demand.namespace],
                _since(demand),
                demand.uid,
            )

        return sorted(self._queue.values(), key=place)

    def keepers(self, now: float) -> Others:
        """Those that keep off their slots whoever is not in the queue and can do without."""
        found: Others = ()
        for demand in self.order(now):
            if not self._is_impatient(demand, now):
                break
            found = self._with_keeper(found, demand)
        return found

    def fitting(self, now: float, last: str | None = None) -> dict[str, list[Slot]]:
        """Slots that jobs of the queue can have now, in its order, each beside those before it.

        Args:
            now: Unix time.
            last: uid of the job after which nothing needs to be known.
        """
        found: dict[str, list[Slot]] = {}
        keepers: Others = ()
        with self._trial() as try_out:
            for demand in self.order(now):
                slots = try_out(demand, now, keepers)
                if slots is not None:
                    found[demand.uid] = slots
                elif self._is_impatient(demand, now):
                    keepers = self._with_keeper(keepers, demand)
                if demand.uid == last:
                    break
        return found

    def fits_alone(self, demand: JobDemand, now: float) -> bool:
        """Whether the job would fit if nobody else waited."""
        with self._trial() as try_out:
            return try_out(demand, now, ()) is not None

    @contextmanager
    def _trial(self) -> Iterator[Callable[[JobDemand, float, Others], list[Slot] | None]]:
        """Within it slots of several jobs are taken; at its end none is."""
        taken: list[Entry] = []

        def try_out(demand: JobDemand, now: float, keepers: Others) -> list[Slot] | None:
            eligibility = self._choice.eligibility(demand)
            if eligibility.by_uuid and self._most_free(demand) < demand.required:
                return None
            before = len(taken)
            while len(taken) < before + demand.required:
                slot = self._choice.best(eligibility, now, keepers)
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

    def _with_keeper(self, keepers: Others, demand: JobDemand) -> Others:
        """The job too, unless another in its terms is one, or it would fit nowhere."""
        keeper = self._choice.anyone(self._choice.eligibility(demand))
        if keeper in keepers or not self._is_possible(demand):
            return keepers
        return (*keepers, keeper)

    def _is_impatient(self, demand: JobDemand, now: float) -> bool:
        return now - _since(demand) >= PATIENCE_SECONDS

    def _is_possible(self, demand: JobDemand) -> bool:
        known = self._possible.get(demand.uid)
        structure = self._ledger.structure
        if known is None or known[0] != structure or known[1] is not demand:
            eligibility = self._choice.eligibility(demand)
            possible = capacity(eligibility, self._ledger) >= demand.required
            known = self._possible[demand.uid] = (structure, demand, possible)
        return known[2]


def _since(demand: JobDemand) -> float:
    return demand.created if demand.queued_since is None else demand.queued_since
