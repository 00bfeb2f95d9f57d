"""One decision: what it is made from, and what the steps of it hand on."""

from __future__ import annotations

from dataclasses import dataclass

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.cluster_state import JobDemand
from carpool_operator.domain.job import children
from carpool_operator.domain.job.actions import Action
from carpool_operator.domain.job.conditions import ConditionStatus, set_condition
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.observed import Driver, Observed
from carpool_operator.domain.job.settings import JobSettings


@dataclass(frozen=True, slots=True)
class Turn:
    """What one decision is made from; `now` is Unix time."""

    job: JobObject
    observed: Observed
    settings: JobSettings
    now: float

    def driver(self, attempt: int) -> Driver | None:
        """The driver pod of an attempt, if it is there; one of another name is none."""
        name = children.driver_name(self.job, attempt)
        return next(
            (
                each
                for each in self.observed.drivers
                if each.attempt == attempt and each.name == name
            ),
            None,
        )

    def condition(
        self,
        status: InferenceJobStatus,
        kind: str,
        value: ConditionStatus,
        reason: str,
        message: str,
    ) -> InferenceJobStatus:
        """The status with one condition set, now and for this generation."""
        return set_condition(
            status,
            kind,
            value,
            reason,
            message,
            generation=self.job.generation,
            now=self.now,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What one decision comes to, before it is compared with what stands on the job.

    Attributes:
        status: that the job shall have.
        actions: to be carried out before it is written.
        demand: told to the allocator; None: the job takes no part now.
        wants_reservation: nothing of this can be carried out before the allocator has answered.
        wakeup: Unix time of the next look.
        poll: whether the driver should be asked for its progress.
    """

    status: InferenceJobStatus
    actions: tuple[Action, ...] = ()
    demand: JobDemand | None = None
    wants_reservation: bool = False
    wakeup: float | None = None
    poll: bool = False


def earliest(*times: float | None) -> float | None:
    """The first of some times; None where there is none."""
    return min((time for time in times if time is not None), default=None)
