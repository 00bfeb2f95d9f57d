"""Carries out what was planned for a job: its children, its status, its events.

Whatever is done here may be done twice, and may be cut off after any request. What a create answers
with "already exists" is taken as created where the job owns it, and named where another does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.events import EventPoster
from carpool_operator.cluster.resources import CONFIG_MAPS, JOBS, PODS, Resource
from carpool_operator.cluster.status import apply_status
from carpool_operator.domain.cluster_state import JobDemand
from carpool_operator.domain.job.actions import (
    Action,
    BeginAttempt,
    CreateConfigMap,
    CreateDriver,
    DeleteJob,
    DeletePods,
)
from carpool_operator.domain.job.observed import Refusal
from carpool_operator.domain.job.plan import Plan
from carpool_operator.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from carpool_operator.reconcile.observations import JOBS_WATCH, PODS_WATCH, Observations

log = logging.getLogger(__name__)

_SHOWN = {CONFIG_MAPS: "ConfigMap", PODS: "driver pod"}


@dataclass(slots=True)
class Notes:
    """What was found out about a job and would cost requests to find out again.

    Attributes:
        config_maps: names that exist and are the job's.
        foreign: names of ours that others' objects have, with the resource.
        refusal: the API server's, of a child, since one was last created.
        status_written: Unix time.
        demand: that the allocator was told.
    """

    config_maps: set[str] = field(default_factory=set)
    foreign: dict[str, Resource] = field(default_factory=dict)
    refusal: Refusal | None = None
    status_written: float | None = None
    demand: JobDemand | None = None


class ChildRefused(Exception):
    """A child could not be created, as the notes say; the plan must be made anew."""


class JobWrites:
    """The writes of jobs; the leader's alone."""

    def __init__(
        self,
        client: Client,
        observations: Observations,
        events: EventPoster,
        clock: Callable[[], float],
    ) -> None:
        """Make the writes.

        Args:
            client: whose writes leadership guards.
            observations: are told of the answers.
            events: where transitions are told.
            clock: Unix time.
        """
        self._client = client
        self._observations = observations
        self._events = events
        self._clock = clock

    async def act(self, uid: str, plan: Plan, notes: Notes) -> None:
        """Carry out the actions of a plan, in order, up to the first that fails.

        Raises:
            ChildRefused: a child could not be created.
            ApiError: another request failed.
        """
        for action in plan.actions:
            job = self._observations.jobs.get(uid)
            if job is None:
                return
            await self._do(action, job, plan, notes)

    async def _do(self, action: Action, job: Json, plan: Plan, notes: Notes) -> None:
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
        self, resource: Resource, manifest: Mapping[str, Any], job: Json, notes: Notes
    ) -> Json:
        """Create a child, or find that it was created before."""
        namespace, name = job["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            made = await self._client.create(resource.path(namespace), manifest)
        except AlreadyExists as error:
            made = await self._existing(resource, namespace, name, error)
            if not _is_owned(made, job):
                notes.foreign[name] = resource
                raise ChildRefused from error
        except (Forbidden, Invalid) as error:
            notes.refusal = Refusal(self._clock(), error.reason, str(error), error.retryable)
            _log("Could not create a child", job, child=name, error=str(error))
            raise ChildRefused from error
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

    async def recheck_foreign(self, job: Json, notes: Notes) -> None:
        """See whether objects of others still hold names of ours."""
        for name, resource in list(notes.foreign.items()):
            path = resource.path(job["metadata"]["namespace"], name)
            try:
                held = not _is_owned(await self._client.get(path), job)
            except NotFound:
                held = False
            if not held:
                del notes.foreign[name]

    async def tell(self, uid: str, plan: Plan, notes: Notes) -> None:
        """Write the status of a plan where it asks for that, and post its events.

        Raises:
            Conflict: the job is newer than what is known of it; its event is on the way.
            ApiError: the write failed.
        """
        job = self._observations.jobs.get(uid)
        if job is None:
            return
        if plan.status is not None:
            try:
                # What was made of an old state must not stand over what a newer one made.
                version = job["metadata"]["resourceVersion"]
                answer = await apply_status(self._client, job, plan.status, version=version)
            except NotFound:
                return  # deleted meanwhile
            self._status_written(answer, notes)
            self._post(job, plan)

    def _post(self, job: Json, plan: Plan) -> None:
        for event in plan.events:
            self._events.post(job, event.type, event.reason, event.message)

    def _status_written(self, job: Json, notes: Notes) -> None:
        known = self._observations.jobs.get(job["metadata"]["uid"], {})
        before, phase = phase_of(known), phase_of(job)
        if phase != before:
            _log("Changed phase", job, phase=phase, before=before)
        notes.status_written = self._clock()
        self._observations.seen(JOBS_WATCH, job)


def phase_of(job: Mapping[str, Any]) -> str | None:
    """The phase that stands on a job."""
    phase: str | None = (job.get("status") or {}).get("phase")
    return phase


def _is_owned(raw: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    owners = raw["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == job["metadata"]["uid"] for owner in owners)


def _log(sentence: str, job: Mapping[str, Any], **about: object) -> None:
    metadata = job["metadata"]
    log.info(sentence, extra={"job": f"{metadata['namespace']}/{metadata['name']}", **about})
