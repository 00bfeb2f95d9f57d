"""What is to be done about a job: one decision, made from what is observed alone.

    deleting ─────────────────────────────→ nothing: all that it owns goes with it
    finished ─────────────────────────────→ its pods' deletion, its own when the TTL is over
    an attempt is open ─ it has ended ────→ its end is written; from then on it is closed
                       ├ its driver is there → run: look, and ask the driver
                       └ it is not ───────→ start
    none is open ─ the job ends by it ────→ finish
                 ├ suspended ─────────────→ suspend: its pods' deletion
                 └ otherwise ─────────────→ start: back-off, limits, slots, BeginAttempt, children

What must stay true: a decision reads the objects and nothing that was remembered, so an operator
that died between any two writes goes on; a decision made again, after its plan was carried out,
asks for nothing more; what no event would tell of has a wakeup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.cluster_state import JobDemand
from carpool_operator.domain.job.acceptance import Accepted, Refused, acceptance
from carpool_operator.domain.job.actions import Action, BeginAttempt, DeleteJob
from carpool_operator.domain.job.attempts import closed, ending
from carpool_operator.domain.job.events import Event, transitions
from carpool_operator.domain.job.finish import (
    after_end,
    end_by_attempt,
    end_by_deadline,
    end_by_refusal,
    finish,
    is_finished,
)
from carpool_operator.domain.job.job_object import JobObject, condition_of, holds, open_attempt
from carpool_operator.domain.job.observed import Observed
from carpool_operator.domain.job.running import run
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.job.starting import start
from carpool_operator.domain.job.status import as_json, due_at
from carpool_operator.domain.job.suspension import resumed, suspend
from carpool_operator.domain.job.turn import Step, Turn, earliest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a job.

    Attributes:
        actions: in order; carried out one after another, up to the first that fails.
        status: the whole status, to be applied after the actions, under the resource version that
            the job had when it was read (a status made from an older one must not win); None: what
            stands is right.
        events: of the change of status, to be recorded when it is written.
        demand: told to the allocator; None: the job takes no part now.
        wants_reservation: the allocator is to be asked, and the decision made again with its
            answer; nothing else of this plan matters then but `demand`.
        wakeup: Unix time of the next look at the latest; None: an event will come.
        poll: whether the driver should be asked for its progress.
    """

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[Event, ...] = ()
    demand: JobDemand | None = None
    wants_reservation: bool = False
    wakeup: float | None = None
    poll: bool = False


def decide(observed: Observed, settings: JobSettings, now: float) -> Plan:
    """What is to be done about a job; `now` is Unix time."""
    job = JobObject.of(observed.job)
    if job.deleting:
        return Plan()
    turn = Turn(job, observed, settings, now)
    step = after_end(turn) if is_finished(job) else _step(turn)
    return _plan(turn, step)


def _step(turn: Turn) -> Step:
    verdict = acceptance(turn.job)
    status = resumed(turn, _noted(turn, verdict))
    ended = ending(turn, status, verdict)
    if ended is not None:
        status = closed(turn, status, ended)
    attempt = open_attempt(status)
    driver = None if attempt is None else turn.driver(attempt)
    if driver is not None:
        return run(turn, status, verdict, driver)
    step = _without_driver(turn, status, verdict)
    return step if ended is None else _written_first(turn, step)


def _without_driver(turn: Turn, status: InferenceJobStatus, verdict: Accepted | Refused) -> Step:
    is_open = open_attempt(status) is not None
    end = None if is_open else end_by_attempt(status, verdict)
    if isinstance(verdict, Refused):
        return finish(turn, status, end or end_by_refusal(turn, verdict))
    if end is None and not is_open:
        end = end_by_deadline(turn, status, verdict)
    if end is not None:
        return finish(turn, status, end)
    return suspend(turn, status) if turn.job.suspended else start(turn, status, verdict)


def _written_first(turn: Turn, step: Step) -> Step:
    """An attempt's end alone: it is on the job before anything is done about it."""
    return Step(step.status, demand=step.demand, wakeup=turn.now)


def _noted(turn: Turn, verdict: Accepted | Refused) -> InferenceJobStatus:
    """The status, with what is known before any pod is looked at."""
    before = turn.job.status
    changes: dict[str, object] = {"observed_generation": turn.job.generation}
    if holds(before, "Finished"):
        changes |= {"completion_time": None, "phase": "Queued"}
    if isinstance(verdict, Accepted) and before.attempt == 0:
        # Later it is what the driver said, or this.
        changes["output"] = verdict.spec.output.uri
    status = before.model_copy(update=changes)
    if isinstance(verdict, Accepted):
        status = turn.condition(status, "Accepted", "True", "Valid", "the spec can be worked with")
    else:
        status = turn.condition(status, "Accepted", "False", "InvalidSpec", verdict.message)
    if condition_of(status, "ModelReady") is None:
        status = turn.condition(status, "ModelReady", "False", "NotStarted", "no attempt has begun")
    words = "the job has not finished"
    status = turn.condition(status, "Finished", "False", "NotFinished", words)
    return turn.condition(status, "Succeeded", "Unknown", "NotFinished", words)


def _plan(turn: Turn, step: Step) -> Plan:
    if step.wants_reservation:
        return Plan(demand=step.demand, wants_reservation=True)
    status = as_json(step.status)
    # BeginAttempt carries the status itself, and a job that is deleted needs none.
    begins = any(isinstance(action, BeginAttempt) for action in step.actions)
    deletes = any(isinstance(action, DeleteJob) for action in step.actions)
    due = due_at(
        turn.job.status_json,
        status,
        last_written=turn.observed.status_written,
        now=turn.now,
        interval=turn.settings.status_interval_seconds,
    )
    write = due is not None and due <= turn.now and not begins and not deletes
    return Plan(
        actions=step.actions,
        status=status if write else None,
        events=transitions(turn.job.status, step.status) if write or begins else (),
        demand=step.demand,
        wakeup=step.wakeup if write or begins or deletes else earliest(step.wakeup, due),
        poll=step.poll,
    )
