"""The conditions of a job: set in one place, where the rule for their times is kept.

lastTransitionTime says when a condition's status changed, not when it was last looked at; so a
status made twice from the same facts is the same (Kubernetes API conventions, "Typical status
properties").
"""

from __future__ import annotations

from typing import Final, Literal

from carpool.spec import CONDITION_TYPES, Condition, InferenceJobStatus
from carpool_operator.domain.job.job_object import condition_of
from carpool_operator.domain.job.times import timestamp

ConditionStatus = Literal["True", "False", "Unknown"]

_ORDER: Final = {kind: place for place, kind in enumerate(CONDITION_TYPES)}
_MESSAGE_CHARACTERS: Final = 4096


def set_condition(
    status: InferenceJobStatus,
    kind: str,
    value: ConditionStatus,
    reason: str,
    message: str,
    *,
    generation: int,
    now: float,
) -> InferenceJobStatus:
    """The status with one condition set; others stay, those of other controllers too."""
    old = condition_of(status, kind)
    changed = old is None or old.status != value
    made = Condition(
        type=kind,
        status=value,
        observed_generation=generation,
        last_transition_time=timestamp(now) if old is None or changed else old.last_transition_time,
        reason=reason,
        message=message[:_MESSAGE_CHARACTERS],
    )
    others = [each for each in status.conditions if each.type != kind]
    ordered = sorted([*others, made], key=lambda each: _ORDER.get(each.type, len(_ORDER)))
    return status.model_copy(update={"conditions": ordered})
