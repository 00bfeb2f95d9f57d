"""`spec.host` and `spec.batching`: the process that holds the model, and how it feeds it."""

from __future__ import annotations

from pydantic import Field

from carpool.spec.quantity import ByteQuantity, CpuQuantity
from carpool.spec.strict import StrictModel


class HostSpec(StrictModel):
    """Resources of the model host, the one process of an executor that holds the model."""

    cpu: CpuQuantity | None = Field(
        default=None,
        description="CPU of the model host, as a Kubernetes quantity in quotes.",
        examples=["2", "500m"],
    )
    memory: ByteQuantity | None = Field(
        default=None,
        description=(
            "Memory of the model host, as a Kubernetes quantity; absent: from the model's size "
            "and what the tasks share with it."
        ),
        examples=["4Gi"],
    )


class BatchingSpec(StrictModel):
    """How items of all tasks are put together; without settings the host tunes itself."""

    max_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="The most items in one batch; absent: the host finds out what fits and pays.",
        examples=[16],
    )
    deterministic: bool = Field(
        default=False,
        description=(
            "Pad every batch to one fixed shape with a fixed thread count, so that the result of "
            "an item does not depend on the items beside it. Slower."
        ),
    )
