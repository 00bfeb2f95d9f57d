"""Brings one job up to date: what is known of it, a plan, the plan's writes.

Nothing here is remembered that cannot be found out again, apart from what only saves requests: so
the process may end anywhere, and the next one goes on from what the API server has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.events import EventPoster
from carpool_operator.cluster.resources import CONFIG_MAPS, JOBS, PODS, Resource
from carpool_operator.cluster.status import apply_status
from carpool_operator.domain.allocation.interface import Allocator
from carpool_operator.domain.cluster_state import JobDemand
from carpool_operator.domain.job.actions import (
    Action,
    BeginAttempt,
    CreateConfigMap,
    CreateDriver,
    DeleteJob,
    DeletePods,
)
from carpool_operator.domain.job.observed import Observed, Refusal
from carpool_operator.domain.job.plan import Plan, decide
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from carpool_operator.reconcile.observations import JOBS_WATCH, PODS_WATCH, Observations
from carpool_operator.reconcile.progress import ProgressPoller

log = logging.getLogger(__name__)

_SHOWN = {CONFIG_MAPS: "ConfigMap", PODS: "driver pod"}


@dataclass(slots=True)
class _Notes:
    """What was found out about a job and would cost requests to find out again."""

    config_maps: set[str] = field(default_factory=set)
    foreign: dict[str, Resource] = field(default_factory=dict)
    refusal: Refusal | None = None
    status_written: float | None = None
    demand: JobDemand | None = None


class _Refused(Exception):
    """A child could not be created; the plan must be made anew."""


class Controller:
    """Reconciles jobs; the leader's alone."""

    def __init__(
        self,
        client: Client,
        observations: Observations,
        allocator: Allocator,
        *,
        settings: JobSettings,
        events: EventPoster,
        poller: ProgressPoller,
        look_again: Callable[[str, float], None],
        demand_changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a controller.

        Args:
            client: whose writes leadership guards.
            observations: of the cluster.
            allocator: that was told of the same.
            settings: of jobs' lives.
            events: where transitions are told.
            poller: of drivers' progress.
            look_again: is called with a job's UID and seconds after which to reconcile it.
            demand_changed: is called when the allocator may decide something new.
            clock: Unix time.
        """
        self._client = client
        self._observations = observations
        self._allocator = allocator
        self._settings = settings
        self._events = events
        self._poller = poller
        self._look_again = look_again
        self._demand_changed = demand_changed
        self._clock = clock
        self._notes: dict[str, _Notes] = {}
        self.waiting: set[str] = set()
        """Jobs that wait for room, or whose executors do."""

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
            return
        notes = self._notes.setdefault(uid, _Notes())
        await self._recheck_foreign(job, notes)
        plan = self._plan(uid, notes)
        if plan is not None:
            try:
                await self._act(uid, plan, notes)
            except _Refused:
                # Once: the new plan tells of the refusal, and says when to try again.
                self._observations.running.note_starting(
                    uid, job["metadata"]["namespace"], starting=False
                )
                plan = self._plan(uid, notes)
        if plan is not None:
            await self._tell(uid, plan, notes)

    def _plan(self, uid: str, notes: _Notes) -> Plan | None:
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
        self._observations.running.note_starting(uid, namespace, starts)
        has_driver = any(not driver.gone for driver in observed.drivers)
        gated = any(pod.gated for pod in observed.executors)
        waits = gated or (_phase(job) in {None, "Queued"} and not (starts or has_driver))
        (self.waiting.add if waits else self.waiting.discard)(uid)
        self._poll(uid, observed, plan)
        if plan.wakeup is not None:
            self._look_again(uid, plan.wakeup - now)
        return plan

    def _observed(self, uid: str, job: Json, notes: _Notes, now: float) -> Observed:
        namespace = job["metadata"]["namespace"]
        executors = tuple(
            pod for pod in self._observations.executors(uid) if pod.namespace == namespace
        )
        gated = any(pod.gated for pod in executors)
        in_namespace, in_all = self._observations.running.others(uid, namespace)
        return Observed(
            job=job,
            drivers=self._observations.drivers(uid),
            executors=executors,
            config_maps=frozenset(notes.config_maps),
            foreign=tuple(notes.foreign),
            progress=self._poller.latest(uid),
            running_drivers=in_namespace,
            running_drivers_total=in_all,
            waiting=self._allocator.why_waiting(uid, now) if gated and notes.demand else None,
            refusal=notes.refusal,
            status_written=notes.status_written,
        )

    def _tell_allocator(self, uid: str, plan: Plan, notes: _Notes) -> None:
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
        self._observations.running.note_starting(uid, "", starting=False)

    # The plan's writes

    async def _act(self, uid: str, plan: Plan, notes: _Notes) -> None:
        for action in plan.actions:
            job = self._observations.jobs.get(uid)
            if job is None:
                return
            await self._do(action, job, plan, notes)

    async def _do(self, action: Action, job: Json, plan: Plan, notes: _Notes) -> None:
        namespace = job["metadata"]["namespace"]
        match action:
            case BeginAttempt(attempt, version, status):
                answer = await apply_status(self._client, job, status, version=version)
                self._status_written(answer, notes)
                self._post(job, plan)
                _log("Began an attempt", job, attempt=attempt)
            case CreateConfigMap(manifest):
                await self._create(CONFIG_MAPS, manifest, job, notes)
                notes.config_maps.add(manifest["metadata"]["name"])
            case CreateDriver(manifest):
                self._observations.seen(PODS_WATCH, await self._create(PODS, manifest, job, notes))
            case DeletePods(pods):
                for pod in pods:
                    await self._delete(PODS.path(namespace, pod.name), pod.uid)
                    _log("Deleted pod", job, pod=pod.name)
            case DeleteJob(uid):
                await self._delete(JOBS.path(namespace, job["metadata"]["name"]), uid)
                _log("Deleted job, as its time to live was over", job)

    async def _create(
        self, resource: Resource, manifest: Mapping[str, Any], job: Json, notes: _Notes
    ) -> Json:
        """Create a child, or find that it was created before."""
        namespace, name = job["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            made = await self._client.create(resource.path(namespace), manifest)
        except AlreadyExists as error:
            made = await self._existing(resource, namespace, name, error)
            if not _is_owned(made, job):
                notes.foreign[name] = resource
                raise _Refused from error
        except (Forbidden, Invalid) as error:
            notes.refusal = Refusal(self._clock(), error.reason, str(error), error.retryable)
            _log("Could not create a child", job, child=name, error=str(error))
            raise _Refused from error
        else:
            _log(f"Created {_SHOWN[resource]}", job, child=name)
        notes.refusal = None
        return made

    async def _existing(
        self, resource: Resource, namespace: str, name: str, cause: ApiError
    ) -> Json:
        try:
            return await self._client.get(resource.path(namespace, name))
        except NotFound as error:
            raise Conflict(f"{name} was there and is gone: {cause}") from error

    async def _delete(self, path: str, uid: str) -> None:
        try:
            await self._client.delete(path, uid=uid)
        except (NotFound, Conflict):
            return  # it is gone, or another has its name

    async def _recheck_foreign(self, job: Json, notes: _Notes) -> None:
        """See whether objects of others still hold names of ours."""
        for name, resource in list(notes.foreign.items()):
            path = resource.path(job["metadata"]["namespace"], name)
            try:
                held = not _is_owned(await self._client.get(path), job)
            except NotFound:
                held = False
            if not held:
                del notes.foreign[name]

    async def _tell(self, uid: str, plan: Plan, notes: _Notes) -> None:
        job = self._observations.jobs.get(uid)
        if job is None:
            return
        if plan.status is not None:
            try:
                answer = await apply_status(self._client, job, plan.status)
            except NotFound:
                return  # deleted meanwhile
            self._status_written(answer, notes)
            self._post(job, plan)

    def _post(self, job: Json, plan: Plan) -> None:
        for event in plan.events:
            self._events.post(job, event.type, event.reason, event.message)

    def _status_written(self, job: Json, notes: _Notes) -> None:
        known = self._observations.jobs.get(job["metadata"]["uid"], {})
        before, phase = _phase(known), _phase(job)
        if phase != before:
            _log("Changed phase", job, phase=phase, before=before)
        notes.status_written = self._clock()
        self._observations.seen(JOBS_WATCH, job)


def _phase(job: Mapping[str, Any]) -> str | None:
    phase: str | None = (job.get("status") or {}).get("phase")
    return phase


def _is_owned(raw: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    owners = raw["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == job["metadata"]["uid"] for owner in owners)


def _log(sentence: str, job: Mapping[str, Any], **about: object) -> None:
    metadata = job["metadata"]
    log.info(sentence, extra={"job": f"{metadata['namespace']}/{metadata['name']}", **about})
