"""The InferenceJob: a custom resource of Kubernetes, and the very same YAML run locally."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.gpu import GpuSpec
from carpool.spec.host import BatchingSpec, HostSpec
from carpool.spec.input import InputSpec
from carpool.spec.metadata import ObjectMeta
from carpool.spec.model import ModelSpec
from carpool.spec.output import OutputSpec
from carpool.spec.policy import FailurePolicy
from carpool.spec.rules import Rule
from carpool.spec.spark import CODE_SETTINGS, SparkSpec
from carpool.spec.status import InferenceJobStatus
from carpool.spec.storage import StorageSpec
from carpool.spec.strict import INT32_MAX, StrictModel
from carpool.spec.tracking import TrackingSpec

API_VERSION: Literal["carpool.dev/v1alpha1"] = "carpool.dev/v1alpha1"
KIND: Literal["InferenceJob"] = "InferenceJob"

Device = Literal["GPU", "CPU"]
Sharing = Literal["Shared", "PerTask"]


class InferenceJobSpec(StrictModel):
    """What is to be done: run a model over all input, and where and with what."""

    model: ModelSpec = Field(description="The network that is run, and the code around it.")
    input: InputSpec = Field(description="What is read.")
    tracking: TrackingSpec | None = Field(
        default=None,
        description="How detections are joined to tracks; absent: detection only.",
    )
    output: OutputSpec = Field(description="Where results go.")
    storage: StorageSpec = Field(
        default=StorageSpec(), description="How object storage (S3 and the like) is reached."
    )
    device: Device = Field(default="GPU", description="What the model runs on.")
    executors: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Spark executors, each with one device and one copy of the model.",
        examples=[2],
    )
    min_executors: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="The job waits until so many can run at once; absent: all of them.",
        examples=[2],
    )
    sharing: Sharing = Field(
        default="Shared",
        description=(
            "Shared: one copy of the model for all tasks of an executor. PerTask: one for each "
            "task, the baseline to compare with."
        ),
    )
    gpu: GpuSpec | None = Field(
        default=None,
        description="What the job asks of GPUs; only with device GPU; absent: one GPU an executor.",
    )
    host: HostSpec = Field(default=HostSpec(), description="Resources of the model host.")
    batching: BatchingSpec = Field(
        default=BatchingSpec(), description="How items of all tasks are put together."
    )
    spark: SparkSpec = Field(default=SparkSpec(), description="The Spark application.")
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy(), description="What happens to bad input and failed attempts."
    )
    suspend: bool = Field(
        default=False, description="Do not start, or stop and give everything back."
    )
    start_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=INT32_MAX,
        description=(
            "Fail if the executors that must run at once have not got their GPUs after so many "
            "seconds of waiting, since creation, the end of a suspension or of a failed attempt."
        ),
        examples=[1800],
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=INT32_MAX,
        description=(
            "Fail if the job has not finished so many seconds after its startTime, which a "
            "suspension sets back."
        ),
        examples=[86_400],
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=INT32_MAX,
        description="Delete the job's object so many seconds after its end; results stay.",
        examples=[604_800],
    )

    @property
    def required_executors(self) -> int:
        """Executors that must be able to run at once: `min_executors`, or all."""
        return self.executors if self.min_executors is None else self.min_executors

    @property
    def exclusive_gpus(self) -> bool:
        """Whether each executor has a whole GPU, of the kubelet's: ownership Exclusive."""
        return self.gpu is not None and self.gpu.ownership == "Exclusive"

    @classmethod
    def rules(cls) -> tuple[Rule[InferenceJobSpec], ...]:
        """What must hold between the fields of this model."""
        return _RULES


def _code_is_allowed(spec: InferenceJobSpec) -> bool:
    brings_code = any(setting in spec.spark.conf for setting in CODE_SETTINGS)
    return spec.model.handler is None or spec.model.allow_code or not brings_code


_RULES: tuple[Rule[InferenceJobSpec], ...] = (
    Rule(
        field="tracking",
        holds=lambda spec: spec.tracking is None or spec.input.kind == "Video",
        message="only videos can be tracked; remove tracking, or set spec.input.kind: Video",
        cel="!has(self.tracking) || self.input.kind == 'Video'",
        reason="FieldValueForbidden",
    ),
    Rule(
        field="gpu",
        holds=lambda spec: spec.gpu is None or spec.device == "GPU",
        message="has no meaning with device CPU; remove gpu, or set spec.device: GPU",
        cel="!has(self.gpu) || self.device == 'GPU'",
        reason="FieldValueForbidden",
    ),
    Rule(
        field="minExecutors",
        holds=lambda spec: spec.required_executors <= spec.executors,
        message="is more than spec.executors; lower it, or raise spec.executors",
        cel="!has(self.minExecutors) || self.minExecutors <= self.executors",
    ),
    Rule(
        field="model.allowCode",
        holds=_code_is_allowed,
        message=(
            f"spec.spark.conf brings Python code along ({' or '.join(CODE_SETTINGS)}); "
            "set allowCode: true if you trust it, or install the handler in the image"
        ),
        cel=(
            "!has(self.model.handler) || self.model.allowCode || !has(self.spark.conf) || "
            f"!{list(CODE_SETTINGS)}.exists(setting, setting in self.spark.conf)"
        ),
    ),
)


class InferenceJob(StrictModel):
    """A batch inference job: one model over many inputs, on Spark."""

    api_version: Literal["carpool.dev/v1alpha1"] = Field(description="Version of this format.")
    kind: Literal["InferenceJob"] = Field(description="What this document is.")
    metadata: ObjectMeta = Field(description="Name, place and marks of the job.")
    spec: InferenceJobSpec = Field(description="What is to be done.")
    status: InferenceJobStatus | None = Field(
        default=None, description="What is known about the job; written by the operator."
    )
