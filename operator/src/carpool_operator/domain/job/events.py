"""Events: what changed between two statuses, for those who watch.

An event is a transition of the status and nothing else, so a decision that is made twice tells of
it once: the second finds the status written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.job.job_object import condition_of, holds
from carpool_operator.domain.job.reasons import DRIVER_STARTING, MODEL_NOT_LOADED

EventType = Literal["Normal", "Warning"]
_MESSAGE_CHARACTERS: Final = 1024
"""As many as the API server takes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job; `reason` is CamelCase."""

    type: EventType
    reason: str
    message: str


def transitions(before: InferenceJobStatus, after: InferenceJobStatus) -> tuple[Event, ...]:
    """The events of a change of status."""
    found = (
        *_suspension(before, after),
        *_attempts(before, after),
        *_queued(before, after),
        *_model(before, after),
        *_end(before, after),
    )
    return tuple(
        Event(each.type, each.reason, each.message[:_MESSAGE_CHARACTERS]) for each in found
    )


def _queued(before: InferenceJobStatus, after: InferenceJobStatus) -> list[Event]:
    old, new = condition_of(before, "Reserved"), condition_of(after, "Reserved")
    if after.phase != "Queued" or new is None or new.status != "False":
        return []
    if old is not None and old.status == "False" and old.reason == new.reason:
        return []
    return [Event("Normal", new.reason, f"waits: {new.message}")]


def _attempts(before: InferenceJobStatus, after: InferenceJobStatus) -> list[Event]:
    events = []
    last = after.last_ended
    if last is not None and last != before.last_ended and last.outcome in ("Failed", "Retryable"):
        message = f"attempt {last.attempt} failed: {last.reason}: {last.message}"
        events.append(Event("Warning", "AttemptFailed", message))
    if after.attempt > before.attempt:
        events.append(Event("Normal", "AttemptStarted", f"attempt {after.attempt} begins"))
    return events


def _model(before: InferenceJobStatus, after: InferenceJobStatus) -> list[Event]:
    old, new = condition_of(before, "ModelReady"), condition_of(after, "ModelReady")
    if new is None or after.phase not in ("Starting", "Detecting", "Tracking"):
        return []
    if new.status == "True":
        loaded = old is None or old.status != "True"
        return [Event("Normal", new.reason, new.message)] if loaded else []
    is_well = new.reason in (DRIVER_STARTING, MODEL_NOT_LOADED)
    if is_well or (old is not None and old.reason == new.reason):
        return []
    return [Event("Warning", new.reason, new.message)]


def _suspension(before: InferenceJobStatus, after: InferenceJobStatus) -> list[Event]:
    was, is_now = holds(before, "Suspended"), holds(after, "Suspended")
    if is_now and not was:
        return [Event("Normal", "Suspended", "nothing runs until spec.suspend is false")]
    if was and not is_now:
        return [Event("Normal", "Resumed", "the job goes on where it was")]
    return []


def _end(before: InferenceJobStatus, after: InferenceJobStatus) -> list[Event]:
    finished = condition_of(after, "Finished")
    if finished is None or finished.status != "True" or holds(before, "Finished"):
        return []
    kind: EventType = "Normal" if after.phase == "Succeeded" else "Warning"
    phase = str(after.phase)
    why = "" if finished.reason == phase else f"{finished.reason}: "
    return [Event(kind, phase, f"{why}{finished.message}")]
