"""Brings one job up to date: what is known of it, a plan, the plan's writes.

Nothing here is remembered that cannot be found out again, apart from what only saves requests: so
the process may end anywhere, and the next one goes on from what the API server has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from carpool_operator.cluster.client import Json
from carpool_operator.domain.allocation.interface import Allocator
from carpool_operator.domain.job.actions import BeginAttempt, CreateDriver
from carpool_operator.domain.job.observed import Observed
from carpool_operator.domain.job.plan import Plan, decide
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.errors import NotFound
from carpool_operator.reconcile.job_writes import ChildRefused, JobWrites, Notes, phase_of
from carpool_operator.reconcile.observations import Observations
from carpool_operator.reconcile.progress import ProgressPoller

log = logging.getLogger(__name__)

_AFTER_FAILURE = 30.0
"""Seconds to the next look that time alone asks for, after a write that failed."""


class Controller:
    """Reconciles jobs; the leader's alone."""

    def __init__(
        self,
        writes: JobWrites,
        observations: Observations,
        allocator: Allocator,
        *,
        settings: JobSettings,
        poller: ProgressPoller,
        look_again: Callable[[str, float], None],
        demand_changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a controller.

        Args:
            writes: that carry plans out.
            observations: of the cluster.
            allocator: that was told of the same.
            settings: of jobs' lives.
            poller: of drivers' progress.
            look_again: is called with a job's UID and seconds after which to reconcile it.
            demand_changed: is called when the allocator may decide something new.
            clock: Unix time.
        """
        self._writes = writes
        self._observations = observations
        self._allocator = allocator
        self._settings = settings
        self._poller = poller
        self._look_again = look_again
        self._demand_changed = demand_changed
        self._clock = clock
        self._notes: dict[str, Notes] = {}
        self.waiting: set[str] = set()
        """Jobs that wait for room, or whose executors do."""

    def tell_all(self) -> None:
        """Tell the allocator what every job asks for, before anything is decided.

        Otherwise it would give away, after a restart, the room of jobs that have not been looked at
        yet, and let the first that are go before those that have waited longest.
        """
        now = self._clock()
        for uid, job in list(self._observations.jobs.items()):
            if self._observations.served(job):
                notes = self._notes.setdefault(uid, Notes())
                plan = decide(self._observed(uid, job, notes, now), self._settings, now)
                self._tell_allocator(uid, plan, notes)

    async def reconcile(self, uid: str) -> None:
        """Bring a job up to date.

        Raises:
            ApiError: a write failed; what was written before stands.
            LeadershipLost: nothing may be written any more.
        """
        job = self._observations.jobs.get(uid)
        if job is None:
            self._forget(uid)
            return
        if not self._observations.served(job):
            if not self._observations.pods.drivers(uid):
                self._forget(uid)  # it must not keep others waiting for slots that it will not take
            return
        notes = self._notes.setdefault(uid, Notes())
        try:
            await self._writes.recheck_foreign(job, notes)
            await self._carry_out(uid, notes)
        except NotFound as error:
            # The job, or its namespace, was deleted meanwhile; its event is on the way.
            log.info("Job was gone before a write", extra={"error": str(error)})

    async def _carry_out(self, uid: str, notes: Notes) -> None:
        plan = self._plan(uid, notes)
        if plan is None:
            return
        try:
            try:
                await self._writes.act(uid, plan, notes)
            except ChildRefused:
                # Once: the new plan tells of the refusal, and says when to try again.
                plan = self._plan(uid, notes)
            if plan is not None:
                await self._writes.tell(uid, plan, notes)
        except Exception:
            # The queue tries again with growing delays; what time brings must not outrun it.
            self._wake(uid, plan, _AFTER_FAILURE)
            raise
        self._wake(uid, plan, 0.0)

    def _wake(self, uid: str, plan: Plan | None, at_least: float) -> None:
        """Have the job looked at when its plan wants it, after so many seconds at least."""
        if plan is not None and plan.wakeup is not None:
            self._look_again(uid, max(at_least, plan.wakeup - self._clock()))

    def _plan(self, uid: str, notes: Notes) -> Plan | None:
        """Decide, without waiting for anything: what is decided upon is the newest known."""
        job = self._observations.jobs.get(uid)
        if job is None:
            return None
        now = self._clock()
        namespace = job["metadata"]["namespace"]
        observed = self._observed(uid, job, notes, now)
        plan = decide(observed, self._settings, now)
        self._tell_allocator(uid, plan, notes)
        if plan.wants_reservation:
            answer = self._allocator.reserve(uid, now)
            plan = decide(replace(observed, reservation=answer), self._settings, now)
            self._tell_allocator(uid, plan, notes)
        starts = any(isinstance(action, BeginAttempt | CreateDriver) for action in plan.actions)
        self._observations.pods.running.note_starting(uid, namespace, starts)
        has_driver = any(not driver.gone for driver in observed.drivers)
        gated = any(pod.gated for pod in observed.executors)
        waits = gated or (phase_of(job) in {None, "Queued"} and not (starts or has_driver))
        (self.waiting.add if waits else self.waiting.discard)(uid)
        self._poll(uid, observed, plan)
        return plan

    def _observed(self, uid: str, job: Json, notes: Notes, now: float) -> Observed:
        namespace = job["metadata"]["namespace"]
        executors = self._observations.pods.executors(uid)
        gated = any(pod.gated for pod in executors)
        in_namespace, in_all = self._observations.pods.running.others(uid, namespace)
        return Observed(
            job=job,
            drivers=self._observations.pods.drivers(uid),
            executors=executors,
            config_maps=frozenset(notes.config_maps),
            foreign=tuple(notes.foreign),
            progress=self._poller.latest(uid),
            running_drivers=in_namespace,
            running_drivers_total=in_all,
            waiting=self._allocator.why_waiting(uid, now) if gated and notes.demand else None,
            failure=self._allocator.failure(uid, now) if notes.demand else None,
            refusal=notes.refusal,
            status_written=notes.status_written,
        )

    def _tell_allocator(self, uid: str, plan: Plan, notes: Notes) -> None:
        if plan.demand == notes.demand:
            return
        notes.demand = plan.demand
        if plan.demand is None:
            self._allocator.job_gone(uid)
        else:
            self._allocator.job_seen(plan.demand)
        self._demand_changed()

    def _poll(self, uid: str, observed: Observed, plan: Plan) -> None:
        newest = max(observed.drivers, key=lambda driver: driver.attempt, default=None)
        if plan.poll and newest is not None and newest.ip is not None:
            self._poller.poll(uid, newest.ip, newest.attempt)
        else:
            self._poller.stop(uid)

    def _forget(self, uid: str) -> None:
        if self._notes.pop(uid, None) is not None:
            self._allocator.job_gone(uid)
            self._demand_changed()
        self.waiting.discard(uid)
        self._poller.forget(uid)
        self._observations.pods.running.note_starting(uid, "", starting=False)
