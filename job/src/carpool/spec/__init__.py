"""The InferenceJob and the GPUNode: models, schema, and the way from a file to a checked job.

This package is all that the operator needs of Carpool, so it imports pydantic and PyYAML alone and
does so quickly.
"""

from __future__ import annotations

from carpool.spec.gpu import GpuSpec
from carpool.spec.gpu_node import (
    GPU_NODE_KIND,
    Gpu,
    GpuNode,
    GpuNodeStatus,
    GpuProcess,
    MigDevice,
    Xid,
)
from carpool.spec.host import BatchingSpec, HostSpec
from carpool.spec.input import InputSpec, VideoSpec
from carpool.spec.job import API_VERSION, KIND, InferenceJob, InferenceJobSpec
from carpool.spec.load import (
    apply_overrides,
    dump_job,
    load_job,
    parse_document,
    parse_job,
    validate_job,
)
from carpool.spec.metadata import ObjectMeta
from carpool.spec.model import ModelSpec
from carpool.spec.not_built import check_runnable
from carpool.spec.output import OutputSpec
from carpool.spec.policy import FailurePolicy
from carpool.spec.quantity import cpu_millis, quantity_bytes, spark_memory
from carpool.spec.schema import json_schema
from carpool.spec.spark import DriverSpec, ExecutorSpec, SparkSpec
from carpool.spec.status import (
    CONDITION_TYPES,
    AttemptOutcome,
    Condition,
    EndedAttempt,
    Failure,
    GpuStatus,
    InferenceJobStatus,
    ModelStatus,
    Progress,
)
from carpool.spec.storage import StorageSpec
from carpool.spec.tracking import TrackingSpec

__all__ = [
    "API_VERSION",
    "CONDITION_TYPES",
    "GPU_NODE_KIND",
    "KIND",
    "AttemptOutcome",
    "BatchingSpec",
    "Condition",
    "DriverSpec",
    "EndedAttempt",
    "ExecutorSpec",
    "Failure",
    "FailurePolicy",
    "Gpu",
    "GpuNode",
    "GpuNodeStatus",
    "GpuProcess",
    "GpuSpec",
    "GpuStatus",
    "HostSpec",
    "InferenceJob",
    "InferenceJobSpec",
    "InferenceJobStatus",
    "InputSpec",
    "MigDevice",
    "ModelSpec",
    "ModelStatus",
    "ObjectMeta",
    "OutputSpec",
    "Progress",
    "SparkSpec",
    "StorageSpec",
    "TrackingSpec",
    "VideoSpec",
    "Xid",
    "apply_overrides",
    "check_runnable",
    "cpu_millis",
    "dump_job",
    "json_schema",
    "load_job",
    "parse_document",
    "parse_job",
    "quantity_bytes",
    "spark_memory",
    "validate_job",
]
