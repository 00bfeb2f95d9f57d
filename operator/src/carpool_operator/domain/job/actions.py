"""What can be done about a job, as data: the writes that `reconcile` carries out in order.

Each is safe to carry out twice, since the operator may die right after any of them: what is created
has a name that follows from the job and its attempt, what is deleted is named with its uid, and
what is written of the status is written against the version that the decision was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BeginAttempt:
    """Write the status of a new attempt, if nothing of the job has changed since it was read.

    The precondition is what keeps a change of the spec from slipping in between
    (docs/decisions/0013). A conflict ends the plan; the next decision sees the change.

    Attributes:
        attempt: its number, from 1.
        resource_version: that the job must still have.
        status: the whole status, `attempt` in it.
    """

    attempt: int
    resource_version: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CreateConfigMap:
    """Create the ConfigMap that an attempt's driver reads; one of the same owner is as good."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CreateDriver:
    """Create the pod of an attempt's driver; one of the same owner is as good."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod, this one and no later one of the same name."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Delete pods of the job, each under the precondition of its uid; one that is gone is fine."""

    pods: tuple[PodRef, ...]


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete the job, under the precondition of its uid; what it owns goes in the background."""

    uid: str


Action = BeginAttempt | CreateConfigMap | CreateDriver | DeletePods | DeleteJob
