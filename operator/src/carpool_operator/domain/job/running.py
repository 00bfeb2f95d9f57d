"""A job whose driver is there: what the driver and the executors say of it, as a status."""

from __future__ import annotations

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.job.acceptance import Accepted, Refused
from carpool_operator.domain.job.attempts import STARTING_REASONS, blocked_until
from carpool_operator.domain.job.deadlines import deadline, has_started
from carpool_operator.domain.job.driver_report import DriverProgress, camel_case
from carpool_operator.domain.job.failures import with_failures
from carpool_operator.domain.job.job_object import condition_of
from carpool_operator.domain.job.leftovers import deletion, leftover_pods
from carpool_operator.domain.job.observed import Driver
from carpool_operator.domain.job.progress import gpu_status, model_status, progress_status
from carpool_operator.domain.job.reasons import (
    DRIVER_STARTING,
    EXECUTORS_ASSIGNED,
    MODEL_NOT_LOADED,
    SLOTS_HELD,
)
from carpool_operator.domain.job.turn import Step, Turn, earliest
from carpool_operator.domain.job.wording import counted


def run(
    turn: Turn, status: InferenceJobStatus, verdict: Accepted | Refused, driver: Driver
) -> Step:
    """What is to be done about a job whose driver has not ended: nothing, but to look."""
    said = turn.observed.progress
    if said is not None and said.attempt != driver.attempt:
        said = None
    status = status.model_copy(update={"driver_pod": driver.name})
    status = _reserved(turn, status, verdict, driver)
    status = _model_ready(turn, status, driver, said)
    status = _figures(turn, status, verdict, driver, said)
    accepted = verdict if isinstance(verdict, Accepted) else None
    if accepted is not None:
        # What was not found to differ is the same, also in this version's terms.
        status = status.model_copy(update={"attempt_spec": accepted.fingerprint})
    due = None if accepted is None else deadline(turn.job, accepted.spec, status)
    return Step(
        status,
        deletion(leftover_pods(turn, driver.attempt)),
        demand=None if accepted is None else accepted.demand,
        wakeup=earliest(None if due is None else due.time, blocked_until(driver, turn.settings)),
        poll=driver.started is not None and not driver.deleting and driver.ip is not None,
    )


def _assigned(turn: Turn) -> int:
    return sum(1 for each in turn.observed.executors if not each.gated and not each.ended)


def _reserved(
    turn: Turn, status: InferenceJobStatus, verdict: Accepted | Refused, driver: Driver
) -> InferenceJobStatus:
    """Slots are held while there is a driver; what more executors lack is said beside it."""
    assigned = _assigned(turn)
    started = has_started(status) or (
        isinstance(verdict, Accepted) and assigned >= verdict.spec.required_executors
    )
    slots = max(driver.reserved, assigned)
    message = f"{counted(slots, 'slot')} held for executors, {assigned} taken"
    lacking = turn.observed.waiting
    if lacking is not None:
        message += f"; more wait: {lacking.reason}: {lacking.message}"
    return turn.condition(
        status, "Reserved", "True", EXECUTORS_ASSIGNED if started else SLOTS_HELD, message
    )


def _model_ready(
    turn: Turn, status: InferenceJobStatus, driver: Driver, said: DriverProgress | None
) -> InferenceJobStatus:
    if said is not None and said.model_ready:
        return turn.condition(
            status, "ModelReady", "True", "ModelLoaded", "executors have loaded the model"
        )
    if driver.started is None:
        reason, message = driver.waiting or (DRIVER_STARTING, "it has no container yet")
        if reason in (DRIVER_STARTING, *STARTING_REASONS):
            words = f"driver pod {driver.name} starts: {message or reason}"
            return turn.condition(status, "ModelReady", "False", DRIVER_STARTING, words)
        words = f"driver pod {driver.name} cannot start: {message or reason}"
        return turn.condition(status, "ModelReady", "False", camel_case(reason), words)
    before = condition_of(status, "ModelReady")
    if said is None and before is not None and before.status == "True":
        # Nobody has asked the driver yet since the operator began.
        return status
    reason, message = _trouble(turn) or (MODEL_NOT_LOADED, "no executor has the model loaded")
    return turn.condition(status, "ModelReady", "False", reason, message)


def _trouble(turn: Turn) -> tuple[str, str] | None:
    """Reason and message where executors are there and cannot load the model; None: all is well."""
    living = [each for each in turn.observed.executors if not each.ended and not each.deleting]
    for each in sorted(living, key=lambda pod: pod.name):
        if each.host_message is not None:
            return "ModelHostEnded", f"the model host of {each.name} ended: {each.host_message}"
    for each in sorted(living, key=lambda pod: pod.name):
        if each.unschedulable_since is not None:
            return "Unschedulable", f"no node takes executor {each.name}"
    return None


def _figures(
    turn: Turn,
    status: InferenceJobStatus,
    verdict: Accepted | Refused,
    driver: Driver,
    said: DriverProgress | None,
) -> InferenceJobStatus:
    changes: dict[str, object] = {}
    ready = 0 if status.gpus is None else status.gpus.ready
    if said is not None:
        ready = said.model.copies
        changes["phase"] = said.phase
        if said.frames.total > 0 or status.progress is None:
            changes["progress"] = progress_status(said.frames, said, status.progress)
        changes["model"] = model_status(said.model)
    elif status.phase not in ("Starting", "Detecting", "Tracking"):
        changes["phase"] = "Starting"
    on_gpus = (
        verdict.spec.device == "GPU" if isinstance(verdict, Accepted) else status.gpus is not None
    )
    if on_gpus:
        changes["gpus"] = gpu_status(max(driver.reserved, _assigned(turn)), ready)
    status = status.model_copy(update=changes)
    return status if said is None else with_failures(status, said.failures)
