"""An InferenceJob as the API server has it, in the terms of a decision.

Spec and status are read apart: a status that some other version wrote must not make the spec wrong,
and the spec may be wrong while its status is needed all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from carpool.spec import Condition, InferenceJobStatus
from carpool_operator.domain.job.times import unix


@dataclass(frozen=True, slots=True)
class JobObject:
    """An InferenceJob as the API server has it.

    Attributes:
        created: Unix time.
        deleting: it has a deletionTimestamp; nothing is done for it any more.
        spec: as it stands, not checked.
        status: what of it can be read.
        status_json: as it stands, to compare with.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    created: float
    deleting: bool
    spec: Mapping[str, Any]
    status: InferenceJobStatus
    status_json: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> JobObject:
        """Read an object that the API server has accepted.

        Raises:
            KeyError: metadata that every stored object has is missing.
        """
        metadata = raw["metadata"]
        status = raw.get("status") or {}
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            resource_version=metadata["resourceVersion"],
            created=unix(metadata["creationTimestamp"]),
            deleting="deletionTimestamp" in metadata,
            spec=raw.get("spec") or {},
            status=_readable(status),
            status_json=status,
        )

    @property
    def suspended(self) -> bool:
        """Whether the job shall not run now; read without checking the rest of the spec."""
        return self.spec.get("suspend") is True

    @property
    def open_attempt(self) -> int | None:
        """The attempt that was begun and whose end is not written yet."""
        return open_attempt(self.status)


def open_attempt(status: InferenceJobStatus) -> int | None:
    """The attempt that was begun and whose end is not written yet."""
    ended = 0 if status.last_ended is None else status.last_ended.attempt
    return status.attempt if status.attempt > ended else None


def condition_of(status: InferenceJobStatus, kind: str) -> Condition | None:
    """The condition of a type, if there is one."""
    return next((each for each in status.conditions if each.type == kind), None)


def holds(status: InferenceJobStatus, kind: str) -> bool:
    """Whether a condition is there and True."""
    condition = condition_of(status, kind)
    return condition is not None and condition.status == "True"


def _readable(status: Mapping[str, Any]) -> InferenceJobStatus:
    """A status, without the fields that cannot be read: a figure must not stop a job."""
    fields = dict(status)
    while True:
        try:
            return InferenceJobStatus.model_validate(
                fields, by_alias=True, by_name=False, extra="ignore"
            )
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
            if not wrong & fields.keys():
                return InferenceJobStatus()
            fields = {name: value for name, value in fields.items() if name not in wrong}
