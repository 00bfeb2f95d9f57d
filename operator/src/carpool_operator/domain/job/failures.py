"""The last ten failures of a job, whoever told of them, each once and newest last."""

from __future__ import annotations

from collections.abc import Iterable

from carpool.spec import Failure, InferenceJobStatus
from carpool_operator.domain.job.driver_report import FAILURES, ReportedFailure


def with_failures(
    status: InferenceJobStatus, reported: Iterable[ReportedFailure]
) -> InferenceJobStatus:
    """The status with further failures; those that it has already change nothing."""
    told = [
        Failure(time=each.time, reason=each.reason, message=each.message, location=each.location)
        for each in reported
    ]
    if not told:
        return status
    once = {_key(each): each for each in (*status.failures, *told)}
    ordered = [once[key] for key in sorted(once)]
    return status.model_copy(update={"failures": ordered[-FAILURES:]})


def _key(failure: Failure) -> tuple[str, str, str, str]:
    return failure.time, failure.reason, failure.location or "", failure.message
