"""`spec.spark`: the Spark application that carries the job.

Which settings `conf` may not bring along stands in `spark_conf`, what of a pod template in
`pod_template`.
"""

from __future__ import annotations

from pydantic import Field

from carpool.spec.pod_template import DriverTemplate, ExecutorTemplate
from carpool.spec.quantity import ByteQuantity
from carpool.spec.rules import Rule
from carpool.spec.spark_conf import FIELD_OF_SETTING, REFUSED_PREFIXES, SET_BY_CARPOOL
from carpool.spec.strict import StrictModel
from carpool.spec.text import ImageName, ObjectName, StringMap

# Settings that bring Python code along with the application.
CODE_SETTINGS = ("spark.submit.pyFiles", "spark.archives")


class DriverSpec(StrictModel):
    """Resources of the driver."""

    cores: int = Field(default=1, ge=1, le=256, description="CPU cores of the driver.")
    memory: ByteQuantity = Field(
        default="2Gi",
        description=(
            "Memory of the driver's container, as a Kubernetes quantity (Spark's \"2g\" is "
            '"2Gi" here).'
        ),
        examples=["2Gi"],
    )


class ExecutorSpec(StrictModel):
    """Resources of one executor, without those of its model host."""

    cores: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Tasks that run at the same time in one executor and share its model.",
        examples=[4, 16],
    )
    memory: ByteQuantity = Field(
        default="4Gi",
        description=(
            "Memory of the executor's Spark container, JVM and Python workers together, as a "
            'Kubernetes quantity (Spark\'s "4g" is "4Gi" here).'
        ),
        examples=["8Gi"],
    )
    scratch: ByteQuantity | None = Field(
        default=None,
        description=(
            "Local disk for copies of remote input, as a Kubernetes quantity; absent: no limit "
            "but the node's."
        ),
        examples=["50Gi"],
    )


class SparkSpec(StrictModel):
    """The Spark application."""

    image: ImageName | None = Field(
        default=None,
        description="Image of driver and executors; absent: the operator's default.",
        examples=["registry.example.org/carpool-job:0.1.0"],
    )
    image_pull_secrets: list[ObjectName] = Field(
        default=[],
        max_length=16,
        description="Names of the secrets to pull the image with.",
        examples=[["registry-credentials"]],
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Service account of the driver; absent: the operator's default.",
        examples=["carpool-driver"],
    )
    driver: DriverSpec = Field(default=DriverSpec(), description="Resources of the driver.")
    executor: ExecutorSpec = Field(
        default=ExecutorSpec(), description="Resources of one executor, without its model host."
    )
    conf: StringMap = Field(
        default={},
        description=(
            "Further Spark settings; keys start with spark. and values are strings. What has a "
            "field of its own here, or is Carpool's to set, is refused."
        ),
        examples=[{"spark.task.maxFailures": "8"}],
    )
    driver_template: DriverTemplate = Field(
        default={},
        description=(
            "Pod template of the driver, a Kubernetes object. Its container `driver` is the "
            "driver's; others run beside it. Carpool's own fields are refused."
        ),
        examples=[{"spec": {"priorityClassName": "batch"}}],
    )
    executor_template: ExecutorTemplate = Field(
        default={},
        description=(
            "Pod template of the executors, a Kubernetes object. Its container `spark-executor` is "
            "Spark's; others run beside it. Carpool's own fields are refused."
        ),
        examples=[{"spec": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}],
    )

    @classmethod
    def rules(cls) -> tuple[Rule[SparkSpec], ...]:
        """What must hold between the fields of this model."""
        return _RULES


def _absent(setting: str) -> str:
    return f"!has(self.conf) || !('{setting}' in self.conf)"


def _unset(setting: str, words: str) -> Rule[SparkSpec]:
    return Rule(
        field="conf",
        holds=lambda spark: setting not in spark.conf,
        message=f"{setting} {words}",
        cel=_absent(setting),
    )


def _unset_below(prefix: str, words: str) -> Rule[SparkSpec]:
    return Rule(
        field="conf",
        holds=lambda spark: not any(key.startswith(prefix) for key in spark.conf),
        message=f"{prefix}* {words}",
        cel=f"!has(self.conf) || self.conf.all(key, !key.startsWith('{prefix}'))",
    )


_RULES: tuple[Rule[SparkSpec], ...] = (
    Rule(
        field="conf",
        holds=lambda spark: all(key.startswith("spark.") for key in spark.conf),
        message="every key must start with spark., since Spark ignores all others",
        cel="!has(self.conf) || self.conf.all(key, key.startsWith('spark.'))",
    ),
    *(
        _unset(setting, f"is set by Carpool{why}; remove it")
        for setting, why in SET_BY_CARPOOL.items()
    ),
    *(
        _unset(setting, f"has a field of its own; remove it and set {field}")
        for setting, field in FIELD_OF_SETTING.items()
    ),
    *(_unset_below(prefix, words) for prefix, words in REFUSED_PREFIXES.items()),
)
