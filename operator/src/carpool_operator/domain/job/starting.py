"""From Queued to a driver: a place among the running jobs, slots for the executors, the writes.

BeginAttempt, ConfigMap, driver pod, in this order. Whatever is interrupted between them is begun
again from the same state: an attempt that was begun and whose driver was never seen needs the same
place and slots as before, and then what is missing of its children.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.cluster_state import JobDemand, Pod
from carpool_operator.domain.job import children
from carpool_operator.domain.job.acceptance import Accepted
from carpool_operator.domain.job.actions import (
    Action,
    BeginAttempt,
    CreateConfigMap,
    CreateDriver,
)
from carpool_operator.domain.job.attempts import retry_time
from carpool_operator.domain.job.config_map import config_map
from carpool_operator.domain.job.deadlines import deadline, waiting_since
from carpool_operator.domain.job.driver_pod import driver_pod
from carpool_operator.domain.job.job_object import open_attempt
from carpool_operator.domain.job.leftovers import blocking, deletion, leftover_pods, names
from carpool_operator.domain.job.observed import Driver
from carpool_operator.domain.job.progress import at_rest, gpu_status
from carpool_operator.domain.job.reasons import DRIVER_STARTING, SLOTS_HELD
from carpool_operator.domain.job.status import as_json
from carpool_operator.domain.job.times import timestamp
from carpool_operator.domain.job.turn import Step, Turn, earliest
from carpool_operator.domain.job.wording import counted


@dataclass(frozen=True, slots=True)
class _Wait:
    """Why a job has no driver yet.

    Attributes:
        reason: of the condition Reserved.
        message: of that condition.
        wakeup: Unix time of the next look; None: an event will come.
        takes_part: whether the allocator should count the job among those that want slots.
    """

    reason: str
    message: str
    wakeup: float | None = None
    takes_part: bool = False


def start(turn: Turn, status: InferenceJobStatus, accepted: Accepted) -> Step:
    """What a job without a driver waits for, or the writes that give it one."""
    pods = leftover_pods(turn, None)
    wait = _wait_for_itself(turn, status, pods) or _wait_for_place(turn, status)
    answer = turn.observed.reservation
    if wait is not None:
        return _queued(turn, status, accepted, wait, deletion(pods))
    if answer is None:
        return Step(status, demand=_waiting(turn, status, accepted), wants_reservation=True)
    if isinstance(answer, Reservation):
        return _begin(turn, status, accepted, answer, deletion(pods))
    recheck = turn.now + turn.settings.recheck_seconds
    wait = _Wait(answer.reason, answer.message, recheck, takes_part=True)
    return _queued(turn, status, accepted, wait, deletion(pods))


def _queued(
    turn: Turn,
    status: InferenceJobStatus,
    accepted: Accepted,
    wait: _Wait,
    deletions: tuple[Action, ...],
) -> Step:
    """A job that waits, and says for what."""
    status = turn.condition(status, "Reserved", "False", wait.reason, wait.message)
    status = status.model_copy(
        update={"phase": "Queued", "gpus": None, "progress": at_rest(status.progress)}
    )
    due = deadline(turn.job, accepted.spec, status)
    return Step(
        status,
        deletions,
        demand=_waiting(turn, status, accepted) if wait.takes_part else None,
        wakeup=earliest(wait.wakeup, None if due is None else due.time),
    )


def _waiting(turn: Turn, status: InferenceJobStatus, accepted: Accepted) -> JobDemand:
    return replace(accepted.demand, queued_since=waiting_since(turn.job, status))


def _wait_for_itself(
    turn: Turn, status: InferenceJobStatus, pods: list[Driver | Pod]
) -> _Wait | None:
    """What of its own past holds a job up: pods of an earlier attempt, and the back-off."""
    if blocking(pods):
        message = f"pods of an earlier attempt have not ended: {names(blocking(pods))}"
        return _Wait("PodsNotEnded", message)
    due = retry_time(status, turn.settings)
    if turn.now >= due:
        return None
    why = "" if status.last_ended is None else f": {status.last_ended.message}"
    message = f"attempt {status.attempt} failed, the next begins at {timestamp(due)}{why}"
    return _Wait("BackingOff", message, due)


def _wait_for_place(turn: Turn, status: InferenceJobStatus) -> _Wait | None:
    """What keeps a job from asking for slots: a name, the API server's refusal, a limit."""
    observed, settings = turn.observed, turn.settings
    recheck = turn.now + settings.recheck_seconds
    attempt = open_attempt(status) or status.attempt + 1
    ours = {
        children.config_map_name(turn.job, attempt),
        children.driver_name(turn.job, attempt),
    }
    taken = sorted(ours.intersection(observed.foreign))
    if taken:
        message = (
            f"{' and '.join(taken)} belongs to another owner; delete it, or create the job under "
            "another name"
        )
        return _Wait("NameTaken", message, recheck)
    refusal = observed.refusal
    if refusal is not None and turn.now < refusal.time + settings.recheck_seconds:
        message = f"the API server refused a child of the job: {refusal.message}"
        return _Wait(refusal.reason, message, refusal.time + settings.recheck_seconds)
    for running, limit, where in (
        (
            observed.running_drivers,
            settings.max_running_jobs_per_namespace,
            f"namespace {turn.job.namespace}",
        ),
        (observed.running_drivers_total, settings.max_running_jobs, "the cluster"),
    ):
        if limit is not None and running >= limit:
            message = f"{limit} jobs may run at a time in {where}"
            return _Wait("RunningJobsLimit", message, recheck)
    return None


def _begin(
    turn: Turn,
    status: InferenceJobStatus,
    accepted: Accepted,
    reservation: Reservation,
    deletions: tuple[Action, ...],
) -> Step:
    job, slots = turn.job, len(reservation.slots)
    attempt = open_attempt(status)
    is_new = attempt is None
    if attempt is None:
        attempt = status.attempt + 1
    status = turn.condition(
        status, "Reserved", "True", SLOTS_HELD, f"{counted(slots, 'slot')} held for executors"
    )
    status = turn.condition(
        status, "ModelReady", "False", DRIVER_STARTING, f"attempt {attempt} begins"
    )
    status = status.model_copy(
        update={
            "phase": "Starting",
            "attempt": attempt,
            "attempt_spec": accepted.fingerprint,
            "start_time": status.start_time or timestamp(turn.now),
            "driver_pod": None,
            "gpus": gpu_status(slots, 0) if accepted.spec.device == "GPU" else None,
            "model": None,
            "progress": at_rest(status.progress),
        }
    )
    actions: list[Action] = [*deletions]
    if is_new:
        actions.append(BeginAttempt(attempt, job.resource_version, as_json(status)))
    if children.config_map_name(job, attempt) not in turn.observed.config_maps:
        actions.append(CreateConfigMap(config_map(job, attempt)))
    pod = driver_pod(job, accepted.spec, attempt, reservation, turn.settings)
    actions.append(CreateDriver(pod))
    due = deadline(job, accepted.spec, status)
    return Step(
        status,
        tuple(actions),
        demand=accepted.demand,
        wakeup=None if due is None else due.time,
    )
