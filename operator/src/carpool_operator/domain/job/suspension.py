"""Suspend and resume: everything is given back, the attempt is over, and it counts for nothing."""

from __future__ import annotations

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.job.job_object import holds
from carpool_operator.domain.job.leftovers import blocking, deletion, leftover_pods, names
from carpool_operator.domain.job.progress import at_rest
from carpool_operator.domain.job.turn import Step, Turn


def suspend(turn: Turn, status: InferenceJobStatus) -> Step:
    """A job that shall not run: its pods are deleted; what it has done stays."""
    pods = leftover_pods(turn, None)
    waits = blocking(pods)
    message = "spec.suspend is true"
    if waits:
        message += f"; pods that have not ended yet: {names(waits)}"
    status = turn.condition(status, "Suspended", "True", "Suspended", message)
    status = turn.condition(status, "Reserved", "False", "Suspended", "nothing is held")
    if holds(status, "ModelReady"):
        status = turn.condition(status, "ModelReady", "False", "Suspended", "no executor runs")
    status = status.model_copy(
        update={
            "phase": "Suspended",
            "start_time": None,
            "gpus": None,
            "progress": at_rest(status.progress),
        }
    )
    return Step(status, deletion(pods))


def resumed(turn: Turn, status: InferenceJobStatus) -> InferenceJobStatus:
    """The status, with the end of a suspension that is over."""
    if turn.job.suspended or not holds(status, "Suspended"):
        return status
    return turn.condition(status, "Suspended", "False", "Resumed", "spec.suspend is false")
