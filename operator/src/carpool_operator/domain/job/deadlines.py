"""The deadlines of a job: how long it may wait for its executors, and how long it may take.

Both are counted from times that stand on the job. The clock of the start deadline begins anew with
each wait: at creation, at the end of a suspension, at the end of a failed attempt. That of the
active deadline begins with `startTime`, which a suspension takes away, as with a Kubernetes Job.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.spec import InferenceJobSpec, InferenceJobStatus
from carpool_operator.domain.job.job_object import JobObject, condition_of
from carpool_operator.domain.job.reasons import EXECUTORS_ASSIGNED
from carpool_operator.domain.job.times import unix
from carpool_operator.domain.job.wording import counted


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time, and the reason with which a job fails that has reached it."""

    time: float
    reason: str
    message: str


def deadline(job: JobObject, spec: InferenceJobSpec, status: InferenceJobStatus) -> Deadline | None:
    """The next deadline of a job that is neither suspended nor finished."""
    found = [each for each in (_active(spec, status), _start(job, spec, status)) if each]
    return min(found, key=lambda each: each.time, default=None)


def waiting_since(job: JobObject, status: InferenceJobStatus) -> float:
    """Unix time since which a job waits: its creation, or the end of what came last."""
    since = job.created
    suspended = condition_of(status, "Suspended")
    if suspended is not None and suspended.status == "False":
        since = max(since, unix(suspended.last_transition_time))
    if status.last_ended is not None:
        since = max(since, unix(status.last_ended.time))
    return since


def has_started(status: InferenceJobStatus) -> bool:
    """Whether all required executors of the current attempt have had a slot."""
    reserved = condition_of(status, "Reserved")
    return (
        reserved is not None and reserved.status == "True" and reserved.reason == EXECUTORS_ASSIGNED
    )


def _active(spec: InferenceJobSpec, status: InferenceJobStatus) -> Deadline | None:
    seconds = spec.active_deadline_seconds
    if seconds is None or status.start_time is None:
        return None
    return Deadline(
        unix(status.start_time) + seconds,
        "DeadlineExceeded",
        f"spec.activeDeadlineSeconds: not finished {seconds} s after its start",
    )


def _start(job: JobObject, spec: InferenceJobSpec, status: InferenceJobStatus) -> Deadline | None:
    seconds = spec.start_deadline_seconds
    if seconds is None or has_started(status):
        return None
    return Deadline(
        waiting_since(job, status) + seconds,
        "StartDeadlineExceeded",
        f"spec.startDeadlineSeconds: {counted(spec.required_executors, 'executor')} did not get "
        f"a slot within {seconds} s{_lacking(status)}",
    )


def _lacking(status: InferenceJobStatus) -> str:
    """What the job says that it waits for, to end the sentence with."""
    for kind in ("Reserved", "ModelReady"):
        condition = condition_of(status, kind)
        if condition is not None and condition.status == "False":
            return f": {condition.reason}: {condition.message}"
    return ""
