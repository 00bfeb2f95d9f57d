"""`spec.spark`: the Spark application that carries the job.

Whatever has a field of its own must not be set through `conf` as well: two places for one fact
would let the operator reserve something else than Spark asks for.
"""

from __future__ import annotations

from pydantic import Field

from carpool.spec.quantity import ByteQuantity
from carpool.spec.rules import Rule
from carpool.spec.strict import StrictModel
from carpool.spec.text import FreeForm, ImageName, ObjectName, StringMap

# Settings that bring Python code along with the application.
CODE_SETTINGS = ("spark.submit.pyFiles", "spark.archives")

_FIELD_OF_SETTING = {
    "spark.executor.instances": "spec.executors",
    "spark.executor.cores": "spec.spark.executor.cores",
    "spark.executor.memory": "spec.spark.executor.memory",
    "spark.driver.cores": "spec.spark.driver.cores",
    "spark.driver.memory": "spec.spark.driver.memory",
    "spark.kubernetes.container.image": "spec.spark.image",
    "spark.kubernetes.container.image.pullSecrets": "spec.spark.imagePullSecrets",
    "spark.kubernetes.authenticate.driver.serviceAccountName": "spec.spark.serviceAccountName",
    "spark.kubernetes.driver.podTemplateFile": "spec.spark.driverTemplate",
    "spark.kubernetes.executor.podTemplateFile": "spec.spark.executorTemplate",
}


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
            "field of its own here is refused."
        ),
        examples=[{"spark.task.maxFailures": "8"}],
    )
    driver_template: FreeForm = Field(
        default={},
        description="Pod template of the driver, a Kubernetes object; Carpool's fields win.",
        examples=[{"spec": {"priorityClassName": "batch"}}],
    )
    executor_template: FreeForm = Field(
        default={},
        description="Pod template of the executors, a Kubernetes object; Carpool's fields win.",
        examples=[{"spec": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}],
    )

    @classmethod
    def rules(cls) -> tuple[Rule[SparkSpec], ...]:
        """What must hold between the fields of this model."""
        return _RULES


def _absent(setting: str) -> str:
    return f"!has(self.conf) || !('{setting}' in self.conf)"


def _unset(setting: str, field: str) -> Rule[SparkSpec]:
    return Rule(
        field="conf",
        holds=lambda spark: setting not in spark.conf,
        message=f"{setting} has a field of its own; remove it and set {field}",
        cel=_absent(setting),
    )


_RULES: tuple[Rule[SparkSpec], ...] = (
    Rule(
        field="conf",
        holds=lambda spark: all(key.startswith("spark.") for key in spark.conf),
        message="every key must start with spark., since Spark ignores all others",
        cel="!has(self.conf) || self.conf.all(key, key.startsWith('spark.'))",
    ),
    Rule(
        field="conf",
        holds=lambda spark: "spark.master" not in spark.conf,
        message="spark.master is set by Carpool; remove it",
        cel=_absent("spark.master"),
    ),
    *(_unset(setting, field) for setting, field in _FIELD_OF_SETTING.items()),
)
