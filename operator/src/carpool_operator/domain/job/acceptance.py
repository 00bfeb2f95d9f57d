"""Whether a job's spec can be worked with; a wrong one is not tried again until it changes.

The API server has checked most of it already. What remains is what its rules cannot express, and
jobs that were stored under an older definition.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from carpool.errors import SpecError
from carpool.spec import API_VERSION, KIND, InferenceJobSpec, check_runnable, validate_job
from carpool.spec.mutability import ALWAYS
from carpool_operator.domain.cluster_state import JobDemand
from carpool_operator.domain.job.demand import demand_of, jvm_memory
from carpool_operator.domain.job.job_object import JobObject


@dataclass(frozen=True, slots=True)
class Accepted:
    """A spec that can be worked with.

    Attributes:
        spec: checked, defaults filled in.
        demand: what the job asks of the cluster.
        fingerprint: of all that an attempt works from; see `_fingerprint`.
    """

    spec: InferenceJobSpec
    demand: JobDemand
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A spec that cannot be worked with; a line for each mistake, naming its field."""

    message: str


def acceptance(job: JobObject) -> Accepted | Refused:
    """Check a job's spec."""
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": job.name, "namespace": job.namespace},
        "spec": dict(job.spec),
    }
    try:
        checked = validate_job(document, job.name)
        check_runnable(checked)
        jvm_memory(checked.spec.spark.driver.memory, "spec.spark.driver.memory")
        demand = demand_of(job, checked.spec)
    except SpecError as error:
        lines = str(error).splitlines()
        return Refused("; ".join(line.removeprefix(f"{job.name}: ") for line in lines))
    return Accepted(checked.spec, demand, _fingerprint(checked.spec))


def _fingerprint(spec: InferenceJobSpec) -> str:
    """What an attempt works from, in 16 hexadecimal digits.

    Fields that only the operator reads are left out, and so is what has its default: a version that
    knows more fields must find the same fingerprint for the jobs that run.
    """
    document = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for path in ALWAYS:
        *parents, last = path.split(".")
        place = document
        for name in parents:
            place = place.get(name, {})
        place.pop(last, None)
    kept = {name: value for name, value in document.items() if value != {}}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
