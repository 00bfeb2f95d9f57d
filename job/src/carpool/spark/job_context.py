"""What every task of a job knows: made once by the driver, sent with the tasks, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carpool.inputs.filesystem import StorageOptions


@dataclass(frozen=True, slots=True)
class Tracking:
    """How a job tracks.

    Attributes:
        parameters: of the tracker, as in `spec.tracking.parameters`.
        fingerprint: of algorithm and parameters; marks the tables made with them.
    """

    parameters: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class JobContext:
    """The facts of a job that its tasks need.

    Attributes:
        job_uid: owner of the output folder; tasks of another job must not write there.
        output_uri: folder of the job's tables.
        storage: how to reach storage that is not local.
        scratch: folder on the task's machine for copies of remote or doubtful input.
        host_directory: folder in which the tasks of one machine find, or start, their model host.
        handler: `module:Class`.
        parameters: of the handler, complete: nothing is left to be read from a file.
        host_timeout: seconds a task waits for a host that shows no life.
        quarantine: whether bad input is set aside (else it fails the job).
        tracking: how to track; None for detection only.
        model_key: identifies model and parameters; the host refuses a client with another.
        own_hosts: folders of hosts of which each worker claims one; empty where all tasks of a
            machine share the one in `host_directory`.
        host_is_sidecar: whether a container of the pod runs the host; else the first task of a
            machine starts it.
    """

    job_uid: str
    output_uri: str
    storage: StorageOptions
    scratch: Path
    host_directory: Path
    handler: str
    parameters: Mapping[str, Any]
    host_timeout: float
    quarantine: bool
    tracking: Tracking | None
    model_key: str = ""
    own_hosts: tuple[Path, ...] = ()
    host_is_sidecar: bool = False
