"""Writes of a job's status, by server-side apply to its subresource.

Afterwards the status is what we say, field by field: what we do not name any more is removed, what
others have added beside ours stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.resources import JOBS


async def apply_status(
    client: Client, job: Json, status: Mapping[str, Any], *, version: str
) -> Json:
    """Make `status` the job's.

    Args:
        client: of the leader.
        job: as it was read.
        status: all of it.
        version: of the job that must still be the newest.

    Returns:
        The job as it is now.

    Raises:
        Conflict: the job has changed since `version`, or another job has its name now.
        ApiError: as for every request.
    """
    metadata = job["metadata"]
    applied: Json = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        # With its UID, so that a job made anew under the same name is not given this status.
        "metadata": {
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": version,
        },
        "status": dict(status),
    }
    path = JOBS.path(metadata["namespace"], metadata["name"], "status")
    return await client.apply(path, applied)
