"""A small world for the life of one job: an API server, a kubelet, Spark and slots, in memory.

It keeps the rules of the real ones that a decision relies on: names are taken once, a write of the
status needs the version it was made from, a deletion needs the uid and takes time, what a deleted
pod owned goes after it. A test plays the user and the nodes; `Operator` plays `reconcile`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from carpool.spec import InferenceJobStatus
from carpool_operator.domain.allocation.interface import JobFailure, Lacking, Reservation
from carpool_operator.domain.cluster_state import JobDemand, Pod, Resources, Scheduling, Slot
from carpool_operator.domain.job.actions import (
    Action,
    BeginAttempt,
    CreateConfigMap,
    CreateDriver,
    DeleteJob,
    DeletePods,
)
from carpool_operator.domain.job.children import names_of
from carpool_operator.domain.job.driver_reading import driver_of
from carpool_operator.domain.job.driver_report import DriverProgress, progress_of
from carpool_operator.domain.job.events import Event
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.observed import Observed, Refusal
from carpool_operator.domain.job.plan import Plan, decide
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.job.times import timestamp
from support.job_documents import job_document

START = 1_777_890_000.0
LIVING = ("Pending", "Running")
SETTINGS = JobSettings(image="registry.example.org/carpool-job:1")


class Conflict(Exception):
    """The API server's 409: the version, or the name."""


class Killed(Exception):
    """The operator dies here."""


@dataclass(slots=True)
class World:
    """What stands on the API server, and what the nodes and Spark make of it.

    Attributes:
        endings: what the driver of each attempt comes to: a termination message, or None for a
            death without a word; the last one goes for all later attempts.
        work: ticks for which a driver works with its executors.
        slots: free for executors.
        created: names of what was created, in order.
        writes: count of all writes of the operator.
        foreign: names that somebody else has taken.
        refused: the API server's answer to each creation of a pod.
    """

    job: dict[str, Any] | None
    now: float = START
    endings: Sequence[Mapping[str, Any] | None] = ()
    work: int = 3
    slots: int = 100
    drivers: dict[str, dict[str, Any]] = field(default_factory=dict)
    executors: dict[str, Pod] = field(default_factory=dict)
    config_maps: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    writes: int = 0
    foreign: tuple[str, ...] = ()
    refused: Refusal | None = None
    blocked: tuple[str, str] | None = None
    _worked: dict[str, int] = field(default_factory=dict)
    _uids: int = 0

    # The API server.

    def _version(self) -> None:
        assert self.job is not None
        metadata = self.job["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def edit(self, **spec: Any) -> None:
        """A user changes fields of the spec."""
        assert self.job is not None
        self.job["spec"].update(copy.deepcopy(spec))
        self.job["metadata"]["generation"] += 1
        self._version()

    def write_status(self, status: Mapping[str, Any], version: str) -> None:
        """Apply a status that was made from a version of the job."""
        assert self.job is not None
        if self.job["metadata"]["resourceVersion"] != version:
            raise Conflict("the job has changed")
        InferenceJobStatus.model_validate(status, by_alias=True, by_name=False)
        if status != self.job.get("status"):
            self.job["status"] = copy.deepcopy(dict(status))
            self._version()

    def carry_out(self, action: Action) -> None:
        """One action of a plan."""
        match action:
            case BeginAttempt(attempt, version, status):
                assert status["attempt"] == attempt
                self.write_status(status, version)
            case CreateConfigMap(manifest):
                self._create(self.config_maps, manifest)
            case CreateDriver(manifest):
                if self.refused is not None:
                    raise Conflict(self.refused.message)
                self._create(self.drivers, manifest)
            case DeletePods(pods):
                for pod in pods:
                    self._delete(pod.name, pod.uid)
            case DeleteJob(uid):
                assert self.job is not None
                assert self.job["metadata"]["uid"] == uid
                self.job = None

    def _create(self, place: dict[str, dict[str, Any]], manifest: Mapping[str, Any]) -> None:
        made = copy.deepcopy(dict(manifest))
        name = made["metadata"]["name"]
        if name in self.foreign:
            raise Conflict(f"{name} belongs to another owner")
        if name in place:
            return
        self._uids += 1
        made["metadata"] |= {
            "uid": f"uid-{self._uids}",
            "creationTimestamp": timestamp(self.now),
        }
        if made["kind"] == "Pod":
            made["status"] = {"phase": "Pending"}
        place[name] = made
        self.created.append(name)

    def _delete(self, name: str, uid: str) -> None:
        driver = self.drivers.get(name)
        if driver is not None and driver["metadata"]["uid"] == uid:
            driver["metadata"]["deletionTimestamp"] = timestamp(self.now)
        executor = self.executors.get(name)
        if executor is not None and executor.uid == uid:
            self.executors[name] = replace(executor, deleting=True)

    # Nodes and Spark.

    def pass_time(self, seconds: float = 10.0) -> None:
        """Time goes on, and with it whatever nodes and Spark have begun."""
        self.now += seconds
        for name, pod in list(self.drivers.items()):
            if "deletionTimestamp" in pod["metadata"]:
                self.lose_driver(name)
        for name, executor in list(self.executors.items()):
            if executor.deleting:
                del self.executors[name]
        if self.job is None:
            self.drivers.clear()
            self.executors.clear()
            self.config_maps.clear()
            return
        for name, pod in list(self.drivers.items()):
            self._advance(name, pod)

    def _advance(self, name: str, pod: dict[str, Any]) -> None:
        phase = pod["status"]["phase"]
        if phase == "Pending" and self.blocked is None:
            self.run_driver(name)
        elif phase == "Pending":
            self.block_driver(name)
        elif phase == "Running":
            attempt = int(pod["metadata"]["labels"]["carpool.dev/attempt"])
            if not any(each.attempt == attempt for each in self.executors.values()):
                self.add_executors(attempt)
                return
            self._worked[name] = self._worked.get(name, 0) + 1
            if self.endings and self._worked[name] >= self.work:
                place = min(attempt, len(self.endings)) - 1
                self.end_driver(name, self.endings[place])

    def run_driver(self, name: str) -> None:
        """The kubelet starts the container."""
        running = {"running": {"startedAt": timestamp(self.now)}}
        self.drivers[name]["status"] = {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "driver", "state": running}],
        }

    def block_driver(self, name: str) -> None:
        """The kubelet cannot start the container, or the scheduler finds no node."""
        assert self.blocked is not None
        reason, message = self.blocked
        words = {"reason": reason, "message": message}
        if reason == "Unschedulable":
            condition = {"type": "PodScheduled", "status": "False", **words}
            self.drivers[name]["status"] = {"phase": "Pending", "conditions": [condition]}
        else:
            waiting = {"name": "driver", "state": {"waiting": words}}
            self.drivers[name]["status"] = {"phase": "Pending", "containerStatuses": [waiting]}

    def end_driver(self, name: str, message: Mapping[str, Any] | None) -> None:
        """The driver ends; at a clean end Spark has deleted its executors."""
        code = {"Succeeded": 0, "PartiallySucceeded": 2}.get((message or {}).get("phase", ""), 1)
        terminated: dict[str, Any] = {
            "exitCode": code if message is not None else 137,
            "reason": "Completed" if code == 0 else "Error" if message else "OOMKilled",
            "startedAt": timestamp(self.now - 10),
            "finishedAt": timestamp(self.now),
        }
        if message is not None:
            terminated["message"] = json.dumps(message)
            self.executors.clear()
        self.drivers[name]["status"] = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [{"name": "driver", "state": {"terminated": terminated}}],
        }

    def lose_driver(self, name: str) -> None:
        """The pod is gone without a trace, and with it, in a while, what it owned."""
        pod = self.drivers.pop(name)
        attempt = int(pod["metadata"]["labels"]["carpool.dev/attempt"])
        for each in list(self.executors.values()):
            if each.attempt == attempt:
                self.executors[each.name] = replace(each, deleting=True)

    def add_executors(self, attempt: int, *, gated: bool = False) -> None:
        """Spark asks for executors."""
        assert self.job is not None
        for number in range(1, self.job["spec"].get("executors", 1) + 1):
            self._uids += 1
            self.executors[f"exec-{attempt}-{number}"] = Pod(
                uid=f"uid-{self._uids}",
                namespace="traffic",
                name=f"exec-{attempt}-{number}",
                requests=Resources(),
                scheduling=Scheduling(),
                created=self.now,
                phase="Pending" if gated else "Running",
                node=None if gated else "node-1",
                job_uid=self.job["metadata"]["uid"],
                role="executor",
                attempt=attempt,
                gated=gated,
            )

    # What an operator sees.

    def observed(self) -> Observed:
        """The world, without what only an operator remembers."""
        assert self.job is not None
        own = set(names_of(JobObject.of(self.job)))
        return Observed(
            job=copy.deepcopy(self.job),
            drivers=tuple(driver_of(pod) for pod in self.drivers.values()),
            executors=tuple(self.executors.values()),
            config_maps=frozenset(self.config_maps),
            foreign=tuple(name for name in self.foreign if name in own),
        )

    def reserve(self, demand: JobDemand) -> Reservation | Lacking:
        """Slots for a job's executors, all or none."""
        if demand.required > self.slots:
            return Lacking("InsufficientCPU", f"{demand.required} wanted, {self.slots} free")
        return Reservation(demand.uid, (Slot("node-1"),) * demand.required)

    @property
    def moving(self) -> bool:
        """Whether pods will change, and events tell of it."""
        drivers = any(
            "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] in LIVING
            for pod in self.drivers.values()
        )
        return drivers or any(pod.deleting for pod in self.executors.values())

    def at_rest(self, plan: Plan) -> bool:
        """Whether time alone will change nothing: no pod moves, and no look is due."""
        return not self.moving and plan.wakeup is None

    @property
    def status(self) -> Mapping[str, Any]:
        """What stands on the job."""
        assert self.job is not None
        found: Mapping[str, Any] = self.job.get("status", {})
        return found

    def condition(self, kind: str) -> Mapping[str, Any]:
        """A condition of the job."""
        conditions = self.status.get("conditions", ())
        return next((each for each in conditions if each["type"] == kind), {})

    @property
    def running_drivers(self) -> int:
        """Drivers that have not ended."""
        return sum(pod["status"]["phase"] in LIVING for pod in self.drivers.values())


@dataclass(slots=True)
class Operator:
    """Carries plans out, as `reconcile` does; what it remembers is lost when it dies.

    Attributes:
        kills_before: it dies instead of doing its write of each of these numbers, once.
        kills_after: it dies right after each of these.
        deaths: that it has died so far.
        answers: of the driver to `GET /progress`, one for each poll.
    """

    world: World
    settings: JobSettings = SETTINGS
    kills_before: set[int] = field(default_factory=set)
    kills_after: set[int] = field(default_factory=set)
    answers: Iterator[Mapping[str, Any]] = field(default_factory=lambda: iter(()))
    running_elsewhere: int = 0
    deaths: int = 0
    events: list[Event] = field(default_factory=list)
    written: float | None = None
    progress: DriverProgress | None = None
    refusal: Refusal | None = None
    failure: JobFailure | None = None

    def plan(self, observed: Observed | None = None) -> Plan:
        """Decide, and ask for slots where the decision wants some."""
        seen = replace(
            self.world.observed() if observed is None else observed,
            progress=self.progress,
            refusal=self.refusal,
            failure=self.failure,
            running_drivers=self.running_elsewhere,
            running_drivers_total=self.running_elsewhere,
            status_written=self.written,
        )
        plan = decide(seen, self.settings, self.world.now)
        if plan.wants_reservation:
            assert plan.demand is not None
            answered = replace(seen, reservation=self.world.reserve(plan.demand))
            plan = decide(answered, self.settings, self.world.now)
            assert not plan.wants_reservation
        return plan

    def carry_out(self, plan: Plan, version: str) -> None:
        """Do what a plan says, up to the first write that fails."""
        try:
            for action in plan.actions:
                self._write(lambda action=action: self.world.carry_out(action))
                if isinstance(action, BeginAttempt):
                    self.events += plan.events
                if isinstance(action, CreateDriver):
                    self.refusal = None
            if plan.status is not None:
                status = plan.status
                self._write(lambda: self.world.write_status(status, version))
                self.written = self.world.now
                self.events += plan.events
        except Conflict:
            if self.world.refused is not None:
                self.refusal = replace(self.world.refused, time=self.world.now)

    def _write(self, write: Any) -> None:
        number = self.world.writes
        if number in self.kills_before:
            self.kills_before = self.kills_before - {number}
            raise Killed
        self.world.writes += 1
        write()
        if number in self.kills_after:
            raise Killed

    def reconcile(self) -> Plan:
        """One round; a death in it leaves an operator that knows nothing."""
        assert self.world.job is not None
        version = self.world.job["metadata"]["resourceVersion"]
        plan = self.plan()
        try:
            self.carry_out(plan, version)
        except Killed:
            self.deaths += 1
            self.written = self.progress = self.refusal = None
        return plan

    def settle(self, rounds: int = 30) -> Plan:
        """Rounds until nothing is left to do at this time."""
        for _ in range(rounds):
            if self.world.job is None:
                return Plan()
            plan = self.plan()
            if not plan.actions and plan.status is None:
                return plan
            self.reconcile()
        raise AssertionError(f"still something to do: {self.plan()}")

    def poll(self) -> None:
        """Ask the running driver for its progress."""
        assert self.world.job is not None
        answer = next(self.answers, None)
        if answer is not None:
            attempt = self.world.status["attempt"]
            found = progress_of(answer, attempt=attempt, polled=self.world.now)
            assert found is not None
            self.progress = found.after(self.progress)

    def live(self, ticks: int = 60, seconds: float = 10.0) -> None:
        """Reconcile and let time pass, until the job is finished and nothing moves any more."""
        for _ in range(ticks):
            plan = self.settle()
            if self.world.at_rest(plan):
                return
            self.world.pass_time(seconds)
            if self.world.job is None:
                return
            if plan.poll:
                self.poll()
        self.settle()


def world(endings: Sequence[Mapping[str, Any] | None] = (), **changes: Any) -> World:
    """A world with one job that was just created; `changes` as of `job_document`."""
    job = job_document(**{"spec__device": "CPU", **changes})
    job["metadata"] |= {
        "name": "cam-12",
        "namespace": "traffic",
        "uid": "0f5a1c3e-9d2b-4a77-8f3e-1c2d3e4f5a6b",
        "generation": 1,
        "resourceVersion": "100",
        "creationTimestamp": timestamp(START),
    }
    return World(job, endings=endings)


def message(
    phase: str = "Succeeded",
    reason: str | None = None,
    *,
    retryable: bool = False,
    text: str = "900 frames",
) -> dict[str, Any]:
    """A driver's termination message."""
    return {
        "phase": phase,
        "reason": reason or phase,
        "message": text,
        "retryable": retryable,
        "frames": {"total": 900, "done": 900, "failed": 0},
        "model": {"copies": 1, "memory": 250 << 20, "savedMemory": None},
        "output": "s3://results/cam-12",
        "failures": [],
    }


def answer(
    phase: str = "Detecting", done: int = 0, total: int = 900_000, *, ready: bool = True
) -> dict[str, Any]:
    """A driver's answer to `GET /progress`."""
    return {
        "phase": phase,
        "frames": {"total": total, "done": done, "failed": 0},
        "modelReady": ready,
        "executors": {"registered": 1},
        "model": {"copies": 1, "memory": 250 << 20, "savedMemory": 750 << 20},
        "failures": [],
    }
