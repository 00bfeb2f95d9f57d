"""Why a job or its executors wait: for slots that are lacking, or behind somebody else."""

from __future__ import annotations

from carpool_operator.domain.allocation.admission import Admission
from carpool_operator.domain.allocation.choice import Choice
from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.interface import Lacking
from carpool_operator.domain.allocation.shortage import Shortages
from carpool_operator.domain.cluster_state import JobDemand


class Reasons:
    """Says it in a sentence, with figures and names."""

    def __init__(self, choice: Choice, shortages: Shortages, admission: Admission) -> None:
        self._choice = choice
        self._shortages = shortages
        self._admission = admission

    def of_job(self, demand: JobDemand, now: float) -> Lacking:
        """Why a job in the queue gets no reservation."""
        return self._behind(demand, now) or self._too_few(demand, now)

    def of_executors(
        self, count: int, eligibility: Eligibility, now: float, *, enough: bool, beyond: bool
    ) -> Lacking:
        """Why executors wait at the gate.

        Args:
            count: of those that wait.
            eligibility: of the first of them.
            now: Unix time.
            enough: whether as many as the job may have are assigned.
            beyond: whether as many as the job requires are.
        """
        demand = eligibility.wants.demand
        who = f"{count} executor{'' if count == 1 else 's'} at the gate"
        if enough:
            return Lacking("EnoughExecutors", f"{who}; {demand.executors} have their slots")
        need = f"{who} need{'s' if count == 1 else ''} {_slot_words(eligibility)}s"
        if self._choice.best(eligibility, now) is not None:
            claimed = beyond and self._admission.claim(now)
            if claimed and self._choice.best(eligibility, now, leaving_claims=True) is None:
                first = self._admission.order(now)[0]
                return Lacking("QueuedBehind", f"{need}; {_name(first)} has waited longer for them")
            # Told without a count of the whole cluster: thousands are assigned one after the other.
            return Lacking(
                "BeingAssigned", f"{who}; there is room for more, and the next turn comes"
            )
        return self._shortages.told(eligibility, now, need)

    def of_refused(self, count: int) -> Lacking | None:
        """Why executors wait whose assignment was refused; None: there are none."""
        if not count:
            return None
        whose = (
            "1 executor at the gate, whose"
            if count == 1
            else f"{count} executors at the gate, whose"
        )
        return Lacking(
            "AssignmentRefused",
            f"{whose} assignment the API server refused; it is tried again within a minute, and "
            "the operator's log has the refusal",
        )

    def _too_few(self, demand: JobDemand, now: float) -> Lacking:
        # A job that waits for its first executors sees what any in its terms would.
        eligibility = self._choice.anyone(self._choice.eligibility(demand))
        words = _slot_words(eligibility)
        need = f"needs {demand.required} {words}s at once"
        if demand.required == 1:
            need = f"needs a {words}"
        return self._shortages.told(eligibility, now, need)

    def _behind(self, demand: JobDemand, now: float) -> Lacking | None:
        """Whom the job waits for, if it would fit without them."""
        if not self._admission.fits_alone(demand, now):
            return None
        first = self._admission.order(now)[0]
        if first.uid == demand.uid:
            return None
        return Lacking(
            "QueuedBehind",
            f"what it needs is free, but {_name(first)} goes first: "
            "it has waited longer, or its namespace holds less",
        )


def _slot_words(eligibility: Eligibility) -> str:
    if eligibility.exclusive:
        return "whole GPU"
    return "GPU slot" if eligibility.by_uuid else "place"


def _name(demand: JobDemand) -> str:
    return f"{demand.namespace}/{demand.name}"
