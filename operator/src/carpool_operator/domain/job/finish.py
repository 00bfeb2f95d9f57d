"""The end of a job: whether it has come, how it is written, and what happens after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.job.acceptance import Accepted, Refused
from carpool_operator.domain.job.actions import DeleteJob
from carpool_operator.domain.job.deadlines import deadline
from carpool_operator.domain.job.job_object import JobObject, condition_of, holds
from carpool_operator.domain.job.leftovers import deletion, leftover_pods, names
from carpool_operator.domain.job.progress import at_rest
from carpool_operator.domain.job.times import timestamp, unix
from carpool_operator.domain.job.turn import Step, Turn
from carpool_operator.domain.model_reasons import MODEL_REASONS

Phase = Literal["Succeeded", "PartiallySucceeded", "Failed"]


@dataclass(frozen=True, slots=True)
class End:
    """How a job ends; `time` is RFC 3339."""

    phase: Phase
    reason: str
    message: str
    time: str


def end_by_attempt(status: InferenceJobStatus, verdict: Accepted | Refused) -> End | None:
    """How a job ends by what its last attempt came to; None: there is more to try."""
    last = status.last_ended
    if last is None or last.outcome == "Stopped":
        return None
    if last.outcome != "Retryable":
        return End(last.outcome, last.reason, last.message, last.time)
    if isinstance(verdict, Refused):
        return None
    limit = verdict.spec.failure_policy.backoff_limit
    if status.failed_attempts <= limit:
        return None
    message = (
        f"attempt {last.attempt} failed and spec.failurePolicy.backoffLimit is {limit}: "
        f"{last.reason}: {last.message}"
    )
    return End("Failed", "BackoffLimitExceeded", message, last.time)


def end_by_refusal(turn: Turn, verdict: Refused) -> End:
    """How a job ends whose spec is wrong."""
    return End("Failed", "InvalidSpec", verdict.message, timestamp(turn.now))


def end_by_deadline(turn: Turn, status: InferenceJobStatus, verdict: Accepted) -> End | None:
    """How a job without an open attempt ends by a deadline; None: none has passed."""
    due = None if turn.job.suspended else deadline(turn.job, verdict.spec, status)
    if due is None or turn.now < due.time:
        return None
    return End("Failed", due.reason, due.message, timestamp(turn.now))


def finish(turn: Turn, status: InferenceJobStatus, end: End) -> Step:
    """The end of a job, once no driver of it runs any more."""
    running = [each for each in turn.observed.drivers if each.ended is None and not each.gone]
    if running:
        message = (
            f"ends as {end.phase} ({end.reason}) when its driver has ended: {names([*running])}"
        )
        status = turn.condition(status, "Finished", "False", "DriverNotEnded", message)
        status = status.model_copy(update={"phase": status.phase or "Queued"})
        return Step(status, deletion(leftover_pods(turn, None)))
    return Step(_finished(turn, status, end), wakeup=turn.now)


def is_finished(job: JobObject) -> bool:
    """Whether a job has ended; one that was refused may begin when its spec has changed."""
    finished = condition_of(job.status, "Finished")
    if finished is None or finished.status != "True":
        return False
    may_begin = job.status.attempt == 0 and finished.reason == "InvalidSpec"
    return not (may_begin and job.status.observed_generation != job.generation)


def after_end(turn: Turn) -> Step:
    """What remains of a job that has ended: its pods' deletion, and its own when it is due."""
    status = turn.job.status.model_copy(update={"observed_generation": turn.job.generation})
    seconds = turn.job.spec.get("ttlSecondsAfterFinished")
    due = None
    if isinstance(seconds, int) and status.completion_time is not None:
        due = unix(status.completion_time) + seconds
        if turn.now >= due:
            return Step(turn.job.status, (DeleteJob(turn.job.uid),))
    return Step(status, deletion(leftover_pods(turn, None)), wakeup=due)


def _finished(turn: Turn, status: InferenceJobStatus, end: End) -> InferenceJobStatus:
    message = end.message or "the job has finished"
    status = turn.condition(status, "Finished", "True", end.reason, message)
    succeeded = end.phase != "Failed"
    status = turn.condition(
        status, "Succeeded", "True" if succeeded else "False", end.reason, message
    )
    status = turn.condition(status, "Reserved", "False", "JobFinished", "nothing is held any more")
    of_model = end.reason in MODEL_REASONS
    if of_model or not holds(status, "ModelReady"):
        reason = end.reason if of_model else "JobFinished"
        words = end.message if of_model else "no executor had the model loaded when the job ended"
    else:
        reason, words = "JobFinished", "the model was loaded and has been given back"
    if condition_of(status, "ModelReady") is not None:
        status = turn.condition(status, "ModelReady", "False", reason, words)
    return status.model_copy(
        update={
            "phase": end.phase,
            "completion_time": end.time,
            "gpus": None,
            "progress": at_rest(status.progress),
        }
    )
