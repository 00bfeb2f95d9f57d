"""The attempts of a job: how one ends, what counts against backoffLimit, when the next may begin.

An attempt is open from BeginAttempt until its end is written into the status (`lastEnded`). Its end
is written before anything is done about it, so whatever is interrupted afterwards is seen to be a
leftover of an attempt that is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from carpool.spec import AttemptOutcome, EndedAttempt, InferenceJobStatus
from carpool.spec.strict import INT32_MAX
from carpool_operator.domain.job import children
from carpool_operator.domain.job.acceptance import Accepted, Refused
from carpool_operator.domain.job.deadlines import deadline
from carpool_operator.domain.job.driver_report import (
    MESSAGE_CHARACTERS,
    Frames,
    ReportedFailure,
    camel_case,
    cut,
)
from carpool_operator.domain.job.failures import with_failures
from carpool_operator.domain.job.job_object import open_attempt
from carpool_operator.domain.job.observed import Driver
from carpool_operator.domain.job.progress import at_rest, model_status, progress_status
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.job.times import timestamp, unix
from carpool_operator.domain.job.turn import Turn
from carpool_operator.domain.job.wording import counted

STARTING_REASONS: Final = ("ContainerCreating", "PodInitializing")
"""What a pod waits for that is well; it may be pulling a large image."""
_STARTING_PATIENCE: Final = 3
"""As many times as long is that waited for."""
_NO_NODE: Final = ("Unschedulable", "SchedulerError", "SchedulingGated")
"""What a pod waits for that is no fault of the job; time mends it."""


def ending(
    turn: Turn, status: InferenceJobStatus, verdict: Accepted | Refused
) -> EndedAttempt | None:
    """How the open attempt has come to its end; None: it has not, or none is open."""
    attempt = open_attempt(status)
    if attempt is None:
        return None
    driver = turn.driver(attempt)
    if driver is not None and driver.ended is not None:
        return _as_driver_ended(attempt, driver, driver.ended)
    found = _stopped(turn, status, verdict, driver)
    if found is None:
        return None
    return EndedAttempt(
        attempt=attempt,
        time=timestamp(turn.now),
        outcome=found.outcome,
        reason=found.reason,
        message=cut(found.message, MESSAGE_CHARACTERS),
    )


def closed(turn: Turn, status: InferenceJobStatus, ended: EndedAttempt) -> InferenceJobStatus:
    """The status with an attempt's end in it, and what its driver said last."""
    driver = turn.driver(ended.attempt)
    said = None if driver is None else driver.termination
    changes: dict[str, object] = {
        "last_ended": ended,
        "progress": at_rest(status.progress),
        "gpus": None,
    }
    if said is not None:
        if said.frames is not None:
            changes["progress"] = progress_status(said.frames, None, None)
        if said.model is not None:
            changes["model"] = model_status(said.model)
        if said.output is not None:
            changes["output"] = said.output
    if ended.outcome in ("Retryable", "Stopped"):
        changes["model"] = None
    if ended.outcome == "Retryable":
        changes["failed_attempts"] = min(status.failed_attempts + 1, INT32_MAX)
    status = status.model_copy(update=changes)
    if said is not None:
        status = with_failures(status, said.failures)
    if ended.outcome in ("Failed", "Retryable"):
        where = None if driver is None else driver.name
        failure = ReportedFailure(ended.time, ended.reason, ended.message, where)
        status = with_failures(status, [failure])
    return status


def retry_time(status: InferenceJobStatus, settings: JobSettings) -> float:
    """Unix time from which the next attempt may begin."""
    ended = status.last_ended
    if ended is None or ended.outcome != "Retryable":
        return 0.0
    # 2.0**1000 would overflow; the cap is reached long before.
    doublings = min(status.failed_attempts - 1, 60)
    delay = min(settings.backoff_seconds * 2.0**doublings, settings.backoff_cap_seconds)
    return unix(ended.time) + delay


def blocked_until(driver: Driver, settings: JobSettings) -> float | None:
    """Unix time at which a driver that cannot start gives its slots back; None: it can."""
    if driver.started is not None or driver.waiting is None:
        return None
    # A missing volume looks like a large image that is being pulled.
    patience = _STARTING_PATIENCE if driver.waiting[0] in STARTING_REASONS else 1
    return driver.created + patience * settings.driver_blocked_seconds


@dataclass(frozen=True, slots=True)
class _Stop:
    """Why an attempt is over though its driver has not ended."""

    outcome: AttemptOutcome
    reason: str
    message: str


def _stopped(
    turn: Turn,
    status: InferenceJobStatus,
    verdict: Accepted | Refused,
    driver: Driver | None,
) -> _Stop | None:
    """The first reason for an attempt to be over, in the order of what it says of the job."""
    if turn.job.suspended:
        return _Stop("Stopped", "Suspended", "spec.suspend is true")
    if driver is None and status.driver_pod == children.driver_name(turn.job, status.attempt):
        message = (
            f"driver pod {status.driver_pod} is gone without having ended: it was deleted, or its "
            "node was"
        )
        return _Stop("Retryable", "DriverGone", message)
    if isinstance(verdict, Refused):
        # What runs goes on: a newer operator may be stricter than the one that let it begin.
        stop = _Stop("Failed", "InvalidSpec", verdict.message)
        return stop if driver is None else _cannot_go_on(turn, driver)
    # An observed generation was compared; that a version puts it in other terms is no change.
    is_new = turn.job.status.observed_generation != turn.job.generation
    if is_new and status.attempt_spec != verdict.fingerprint:
        return _Stop("Stopped", "SpecChanged", "the spec was changed while the job was suspended")
    due = deadline(turn.job, verdict.spec, status)
    if due is not None and turn.now >= due.time:
        return _Stop("Failed", due.reason, due.message)
    return _cannot_go_on(turn, driver)


def _cannot_go_on(turn: Turn, driver: Driver | None) -> _Stop | None:
    """Why no driver can start, or its executors cannot."""
    given_up = turn.observed.failure
    if given_up is not None:
        return _Stop("Failed", given_up.reason, given_up.message)
    if driver is None:
        refusal = turn.observed.refusal
        if refusal is None or refusal.retryable:
            return None
        return _Stop("Failed", refusal.reason, refusal.message)
    until = blocked_until(driver, turn.settings)
    if driver.waiting is None or until is None or turn.now < until:
        return None
    reason, message = driver.waiting
    return _Stop(
        "Stopped" if reason in _NO_NODE else "Retryable",
        camel_case(reason),
        f"driver pod {driver.name} cannot start: {message or reason}",
    )


def _as_driver_ended(attempt: int, driver: Driver, time: float) -> EndedAttempt:
    said = driver.termination
    if said is None:
        outcome: AttemptOutcome = "Retryable"
        reason, message = _unsaid(driver)
    else:
        reason, message = said.reason, said.message or _figures(said.frames)
        outcome = said.phase
        if said.phase == "Failed" and said.retryable:
            outcome = "Retryable"
    return EndedAttempt(
        attempt=attempt,
        time=timestamp(time),
        outcome=outcome,
        reason=reason,
        message=cut(message, MESSAGE_CHARACTERS),
    )


def _figures(frames: Frames | None) -> str:
    """What a driver did that has nothing to say about it."""
    if frames is None:
        return "the driver has ended"
    failed = f", {frames.failed} of them in quarantine" if frames.failed else ""
    return f"{counted(frames.total, 'frame')}{failed}"


def _unsaid(driver: Driver) -> tuple[str, str]:
    """Reason and message for a driver that ended without a word."""
    word = driver.end_reason or "Error"
    reason = "DriverFailed" if word in ("Error", "Completed") else f"Driver{word}"
    code = "" if driver.exit_code is None else f" with exit code {driver.exit_code}"
    words = f": {driver.last_words}" if driver.last_words else ""
    return camel_case(reason), f"driver pod {driver.name} ended{code} ({word}){words}"
