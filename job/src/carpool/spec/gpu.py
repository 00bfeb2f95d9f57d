"""`spec.gpu`: what a job asks of GPUs, and with whom it shares them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.quantity import ByteQuantity
from carpool.spec.strict import StrictModel
from carpool.spec.text import StringMap

SharedWith = Literal["Job", "Namespace", "Any"]
Placement = Literal["Spread", "Pack"]


class GpuSpec(StrictModel):
    """What the job asks of GPUs, and whom it accepts beside it."""

    executors_per_gpu: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "The most executors that may use one GPU at a time, of all jobs together; the "
            "smallest value of the jobs on a GPU counts."
        ),
        examples=[1, 2],
    )
    shared_with: SharedWith = Field(
        default="Job",
        description=(
            "Whose executors may use the same GPU: those of this job, of jobs in this namespace, "
            "or of any job. It takes the consent of both sides."
        ),
    )
    memory: ByteQuantity | None = Field(
        default=None,
        description=(
            "GPU memory of one executor, as a Kubernetes quantity; absent: the memory of the GPU "
            "divided by executorsPerGPU."
        ),
        examples=["8Gi"],
    )
    placement: Placement = Field(
        default="Spread",
        description="Spread: least loaded GPU first. Pack: fill a GPU before taking the next.",
    )
    node_selector: StringMap = Field(
        default={},
        description="Labels that the executors' nodes must have.",
        examples=[{"nvidia.com/gpu.product": "NVIDIA-L4"}],
    )
