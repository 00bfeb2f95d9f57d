"""What is known of a job at the moment of a decision: the job itself, its pods, its driver's words.

All of it can be read again from the API server and the driver, apart from `reservation`, which the
allocator holds again when it is asked. So a decision needs no memory of an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carpool_operator.domain.allocation.interface import JobFailure, Lacking, Reservation
from carpool_operator.domain.cluster_state import Pod
from carpool_operator.domain.job.driver_report import DriverProgress, Termination


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver pod of the job.

    Attributes:
        attempt: from its label; 0 where it has none that can be read.
        phase: as the API server has it.
        created: Unix time.
        started: Unix time at which its container `driver` began to run; None: not yet.
        ended: Unix time at which that container ended, or the pod did without it; None: not yet.
        ip: of the pod.
        termination: what the driver said at its end.
        exit_code: of the container.
        end_reason: the kubelet's word for the end: OOMKilled, Error, Evicted …
        last_words: instead of a termination message: the last lines of the log, as a rule.
        waiting: reason and message while it cannot start: ImagePullBackOff, Unschedulable …
        reserved: slots for executors that it holds.
    """

    uid: str
    name: str
    attempt: int
    phase: str
    deleting: bool
    created: float
    started: float | None = None
    ended: float | None = None
    ip: str | None = None
    termination: Termination | None = None
    exit_code: int | None = None
    end_reason: str | None = None
    last_words: str = ""
    waiting: tuple[str, str] | None = None
    reserved: int = 0

    @property
    def gone(self) -> bool:
        """Whether nothing of the pod runs, or will run again."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's answer to the last attempt at creating something of the job.

    Attributes:
        time: Unix time of the answer.
        reason: CamelCase; the answer's own reason, such as Forbidden or Invalid.
        message: the answer's message.
        retryable: whether it could pass (a quota), or the object is wrong (a bad template).
    """

    time: float
    reason: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a decision is made from.

    Attributes:
        job: the InferenceJob as the API server has it.
        drivers: all driver pods of this job's uid.
        executors: all executor pods of this job's uid.
        config_maps: names that exist and are owned by this job's uid.
        foreign: names among `children.names_of(job)` that another owner's object has.
        progress: the last answer of the driver; None: none since the operator began.
        running_drivers: drivers of other jobs in the namespace that have not ended, those included
            whose creation is under way.
        running_drivers_total: the same, of all namespaces.
        reservation: the allocator's answer, where the last plan wanted one.
        waiting: what executors at the gate lack.
        failure: why the allocator gives the job up, where its hosts fail wherever they are put.
        refusal: of a child, since something of the job was last created.
        status_written: Unix time of the last write of the status; None: not by this process.
    """

    job: Mapping[str, Any]
    drivers: tuple[Driver, ...] = ()
    executors: tuple[Pod, ...] = ()
    config_maps: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()
    progress: DriverProgress | None = None
    running_drivers: int = 0
    running_drivers_total: int = 0
    reservation: Reservation | Lacking | None = None
    waiting: Lacking | None = None
    failure: JobFailure | None = None
    refusal: Refusal | None = None
    status_written: float | None = None
