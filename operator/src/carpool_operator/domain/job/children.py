"""Names, labels and owner of what the operator creates for a job.

A name follows from the job and the attempt alone, so that creating a child twice ends in "already
exists"; the uid in it keeps a later job of the same name apart.
"""

from __future__ import annotations

from typing import Any, Final

from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.names import (
    ATTEMPT_LABEL,
    GROUP,
    JOB_LABEL,
    JOB_UID_LABEL,
    VERSION,
)

_LONGEST: Final = 63
_DRIVER: Final = "-driver"


def config_map_name(job: JobObject, attempt: int) -> str:
    """Name of the ConfigMap that an attempt's driver reads, at most 63 characters."""
    return _name(job, attempt, "")


def driver_name(job: JobObject, attempt: int) -> str:
    """Name of an attempt's driver pod, at most 63 characters."""
    return _name(job, attempt, _DRIVER)


def names_of(job: JobObject) -> tuple[str, ...]:
    """Names that the job's current and its next attempt take: ConfigMaps and driver pods."""
    attempts = (job.status.attempt, job.status.attempt + 1)
    return tuple(
        name
        for attempt in attempts
        if attempt > 0
        for name in (config_map_name(job, attempt), driver_name(job, attempt))
    )


def metadata(job: JobObject, attempt: int, name: str) -> dict[str, Any]:
    """Metadata of a child; it is deleted with its job."""
    return {
        "name": name,
        "namespace": job.namespace,
        "labels": labels(job, attempt),
        "ownerReferences": [owner(job)],
    }


def labels(job: JobObject, attempt: int) -> dict[str, str]:
    """Labels of every child of an attempt."""
    return {
        JOB_LABEL: job.name[:_LONGEST].rstrip("-.") or "job",
        JOB_UID_LABEL: job.uid,
        ATTEMPT_LABEL: str(attempt),
    }


def owner(job: JobObject) -> dict[str, Any]:
    """The job as owner; its deletion is not held up, which would take a right to finalizers."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceJob",
        "name": job.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _name(job: JobObject, attempt: int, ending: str) -> str:
    tail = f"-{job.uid[:5]}-{attempt}{ending}"
    return job.name[: _LONGEST - len(tail)].rstrip("-.") + tail
