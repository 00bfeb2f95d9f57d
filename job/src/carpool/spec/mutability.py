"""Which fields of a job may change, and when.

A job is written once and runs for hours, and its driver works from a copy of the spec. A change
that the running attempt would not see is refused, so that the object always says what runs:

* ALWAYS: what only the operator reads, at any time.
* SUSPENDED: with what means the work is done. Before the first attempt, or while the job is
  suspended; the next attempt takes it.
* FIXED: what the work is. Results are in the output folder under a fingerprint of these fields, and
  other work in the same folder would be refused (OutputMismatch). Before the first attempt only.

"Before the first attempt" is `status.attempt` of 0: the operator must set it, under a precondition
on the resource version that it read the spec from, before it creates a driver. Then no change can
slip in between. A job that is finished changes no more, apart from ALWAYS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALWAYS: Final = (
    "suspend",
    "startDeadlineSeconds",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "failurePolicy.backoffLimit",
)
SUSPENDED: Final = (
    "storage",
    "device",
    "executors",
    "minExecutors",
    "sharing",
    "gpu",
    "host",
    "batching.maxSize",
    "spark",
    "failurePolicy.badInputs",
    "failurePolicy.maxBadPercent",
)
FIXED: Final = ("model", "input", "tracking", "output", "batching.deterministic")

FIXED_MESSAGE: Final = (
    "decides what the results are and stays as it was at the first attempt; create another job"
)
SUSPENDED_MESSAGE: Final = (
    "cannot change while the job runs or after its end; set spec.suspend: true first, or create "
    "another job"
)

# Written with `has`, not as optional values (`oldSelf.?status`): the API server estimates what a
# rule can cost at most, and loses the bounds of lists behind an optional value.
_STARTED = "has(oldSelf.status) && has(oldSelf.status.attempt) && oldSelf.status.attempt > 0"
_FINISHED = (
    "has(oldSelf.status.conditions) && oldSelf.status.conditions"
    ".exists(condition, condition.type == 'Finished' && condition.status == 'True')"
)


@dataclass(frozen=True, slots=True)
class Transition:
    """A rule on a change of a job: CEL over `self` and `oldSelf`, the whole objects."""

    field: str
    cel: str
    message: str


def transitions() -> tuple[Transition, ...]:
    """One rule for each field that may not always change."""
    locked = f"{_STARTED} && (!oldSelf.spec.suspend || ({_FINISHED}))"
    return (
        *(_unless(_STARTED, field, FIXED_MESSAGE) for field in FIXED),
        *(_unless(locked, field, SUSPENDED_MESSAGE) for field in SUSPENDED),
    )


def _unless(condition: str, field: str, message: str) -> Transition:
    return Transition(
        field=f"spec.{field}",
        cel=f"!({condition}) || {_unchanged(field)}",
        message=message,
    )


def _unchanged(field: str) -> str:
    """That a field is the same, or absent, in both; parents always stand, by their defaults."""
    old, new = f"oldSelf.spec.{field}", f"self.spec.{field}"
    return f"(has({old}) ? has({new}) && {old} == {new} : !has({new}))"
