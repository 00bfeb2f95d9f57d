"""The ConfigMap of an attempt: the job as it was when the attempt began, for the driver to read."""

from __future__ import annotations

from typing import Any, Final

from carpool.spec import API_VERSION, KIND
from carpool.spec.document import write_document
from carpool_operator.domain.job import children
from carpool_operator.domain.job.job_object import JobObject

JOB_FILE: Final = "job.yaml"


def config_map(job: JobObject, attempt: int) -> dict[str, Any]:
    """The ConfigMap's manifest.

    It cannot change, so that a driver that starts late reads what it was created for.
    """
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": job.name, "namespace": job.namespace, "uid": job.uid},
        "spec": dict(job.spec),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": children.metadata(job, attempt, children.config_map_name(job, attempt)),
        "immutable": True,
        "data": {JOB_FILE: write_document(document)},
    }
