"""`status`: what the operator writes and `kubectl get` shows.

Small and slow on purpose: nothing here grows with executors or files, and text that a column shows
is stored ready-made, since kubectl's columns cannot compute.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from carpool.spec.quantity import ByteQuantity
from carpool.spec.rules import Rule
from carpool.spec.strict import INT32_MAX, INT64_MAX, StrictModel
from carpool.spec.text import Message, ObjectName, Reason, ShortText, Timestamp, Uri, form

Phase = Literal[
    "Queued",
    "Starting",
    "Detecting",
    "Tracking",
    "Succeeded",
    "PartiallySucceeded",
    "Failed",
    "Suspended",
]
AttemptOutcome = Literal["Succeeded", "PartiallySucceeded", "Failed", "Retryable", "Stopped"]
CONDITION_TYPES = ("Accepted", "Reserved", "ModelReady", "Suspended", "Finished", "Succeeded")
"""The conditions of a job; others may be added by other controllers."""


ConditionType = Annotated[
    str,
    # As metav1.Condition has it.
    form(
        r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        "a CamelCase word, with a domain before it if it is not ours",
        316,
    ),
]


class Condition(StrictModel):
    """One condition, as metav1.Condition of Kubernetes."""

    type: ConditionType = Field(
        description=(
            "Accepted, Reserved, ModelReady, Suspended (absent until the first suspension), "
            "Finished (True at the end), or Succeeded (Unknown until finished; True also for "
            "PartiallySucceeded)."
        ),
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(
        default=None, ge=0, le=INT64_MAX, description="Generation of the spec it was made from."
    )
    last_transition_time: Timestamp = Field(description="When status last changed.")
    reason: Reason = Field(description="Why, as one CamelCase word.", examples=["InvalidSpec"])
    message: Message = Field(description="Why, as a sentence.")


class Progress(StrictModel):
    """How far the job is, in frames, with the texts of the columns."""

    unit: Literal["frames"] = Field(default="frames", description="What is counted.")
    total: int = Field(ge=0, le=INT64_MAX, description="All frames of the plan.")
    done: int = Field(ge=0, le=INT64_MAX, description="Frames whose results are stored.")
    failed: int = Field(default=0, ge=0, le=INT64_MAX, description="Frames in quarantine.")
    display: ShortText | None = Field(
        default=None, description="Text of the column PROGRESS.", examples=["412k/900k (45%)"]
    )
    rate: ShortText | None = Field(
        default=None, description="Text of the column RATE.", examples=["2130/s"]
    )
    eta: ShortText | None = Field(
        default=None, description="Text of the column ETA.", examples=["3m49s"]
    )


class GpuStatus(StrictModel):
    """GPU slots of the job."""

    reserved: int = Field(default=0, ge=0, le=INT32_MAX, description="Slots held for executors.")
    ready: int = Field(default=0, ge=0, le=INT32_MAX, description="Slots whose model is loaded.")
    display: ShortText | None = Field(
        default=None, description="Text of the column GPUS: ready of reserved.", examples=["2/2"]
    )


class ModelStatus(StrictModel):
    """Copies of the model, and what sharing saves."""

    copies: int = Field(
        default=0,
        ge=0,
        le=INT32_MAX,
        description=(
            "Copies of the model loaded, as executors that are there have reported; of a job that "
            "has ended, those that were loaded last."
        ),
    )
    memory: ByteQuantity | None = Field(
        default=None, description="Device memory of one copy.", examples=["250Mi"]
    )
    saved_memory: ByteQuantity | None = Field(
        default=None,
        description="Device memory that one model per task would take beyond this.",
        examples=["3750Mi"],
    )


class Failure(StrictModel):
    """Something that went wrong."""

    time: Timestamp = Field(description="When.")
    reason: Reason = Field(description="What, as one CamelCase word.", examples=["FramesMissing"])
    message: Message = Field(description="What, as a sentence.")
    location: Uri | None = Field(
        default=None, description="Input file, pod or GPU that it happened to."
    )


class EndedAttempt(StrictModel):
    """How the last attempt that is over came to its end."""

    attempt: int = Field(ge=1, le=INT32_MAX, description="Its number.")
    time: Timestamp = Field(description="When it ended.")
    outcome: AttemptOutcome = Field(
        description=(
            "Succeeded or PartiallySucceeded; Failed: its end is the job's; Retryable: its failure "
            "counts against backoffLimit; Stopped: it was suspended, or no node had room for its "
            "driver, and it counts for nothing."
        )
    )
    reason: Reason = Field(description="Why, as one CamelCase word.", examples=["DriverGone"])
    message: Message = Field(description="Why, as a sentence.")


class InferenceJobStatus(StrictModel):
    """What is known about the job."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=INT64_MAX, description="Generation of the spec this was made from."
    )
    phase: Phase | None = Field(
        default=None, description="For display; programs should read the conditions."
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="State of the job, for programs.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    attempt: int = Field(
        default=0, ge=0, le=INT32_MAX, description="Attempts started, this one included."
    )
    attempt_spec: ShortText | None = Field(
        default=None,
        description="Fingerprint of the spec that this attempt works from.",
    )
    last_ended: EndedAttempt | None = Field(
        default=None, description="How the last attempt that is over came to its end."
    )
    failed_attempts: int = Field(
        default=0,
        ge=0,
        le=INT32_MAX,
        description="Attempts that count against backoffLimit.",
    )
    start_time: Timestamp | None = Field(
        default=None,
        description="Start of the first attempt since creation or the last suspension.",
    )
    completion_time: Timestamp | None = Field(default=None, description="End of the job.")
    progress: Progress | None = Field(default=None, description="How far the job is.")
    gpus: GpuStatus | None = Field(default=None, description="GPU slots of the job.")
    model: ModelStatus | None = Field(default=None, description="Copies of the model.")
    driver_pod: ObjectName | None = Field(default=None, description="Pod of the current driver.")
    output: Uri | None = Field(default=None, description="Folder with the results.")
    failures: list[Failure] = Field(
        default=[], max_length=10, description="The last ten failures, newest last."
    )

    @classmethod
    def rules(cls) -> tuple[Rule[InferenceJobStatus], ...]:
        """What must hold between the fields of this model."""
        return _RULES


def _each_once(status: InferenceJobStatus) -> bool:
    types = [condition.type for condition in status.conditions]
    return len(types) == len(set(types))


_RULES: tuple[Rule[InferenceJobStatus], ...] = (
    Rule(
        field="conditions",
        holds=_each_once,
        message="has two conditions of one type; keep the newer",
        # The API server knows a list of type map, whose key is `type`.
        cel=None,
    ),
)
