"""`spec.gpu`: what a job asks of GPUs, and with whom it shares them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.quantity import ByteQuantity
from carpool.spec.rules import Rule
from carpool.spec.strict import StrictModel
from carpool.spec.text import StringMap

Ownership = Literal["Pool", "Exclusive"]
SharedWith = Literal["Job", "Namespace", "Any"]
Placement = Literal["Spread", "Pack"]
KUBELET_GPUS = "nvidia.com/gpu"
"""What an executor asks for that gets a whole GPU of the kubelet's (ownership Exclusive)."""


def is_kubelets(resource: str) -> bool:
    """Whether a resource is GPUs that NVIDIA's device plugin has the kubelet hand out.

    Whole ones, shared ones under their other name (`nvidia.com/gpu.shared`), or MIG devices.
    """
    return resource.startswith((KUBELET_GPUS, "nvidia.com/mig-"))


class GpuSpec(StrictModel):
    """What the job asks of GPUs, and whom it accepts beside it."""

    ownership: Ownership = Field(
        default="Pool",
        description=(
            "Pool: the operator picks GPUs by their UUIDs, on nodes whose GPUs the kubelet does "
            "not hand out, and may put several executors on one. Exclusive: each executor asks the "
            "kubelet for a whole GPU (nvidia.com/gpu, of NVIDIA's device plugin); the operator "
            "picks the node, the plugin the GPU."
        ),
    )
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
            "divided by executorsPerGPU. With ownership Exclusive no GPU is chosen by it, and the "
            "executor keeps to it on the GPU that it gets; absent: all of that."
        ),
        examples=["8Gi"],
    )
    placement: Placement = Field(
        default="Spread",
        description=(
            "Spread: least loaded GPU first. Pack: fill a GPU before taking the next. With "
            "ownership Exclusive the same of nodes, by how many of their GPUs are taken."
        ),
    )
    node_selector: StringMap = Field(
        default={},
        description="Labels that the executors' nodes must have.",
        examples=[{"nvidia.com/gpu.product": "NVIDIA-L4"}],
    )

    @classmethod
    def rules(cls) -> tuple[Rule[GpuSpec], ...]:
        """What must hold between the fields of this model."""
        return _RULES


_RULES: tuple[Rule[GpuSpec], ...] = (
    Rule(
        field="executorsPerGPU",
        holds=lambda gpu: gpu.ownership != "Exclusive" or gpu.executors_per_gpu == 1,
        message="must be 1 with ownership Exclusive; remove it, or set ownership: Pool",
        cel="self.ownership != 'Exclusive' || self.executorsPerGPU == 1",
    ),
    Rule(
        field="sharedWith",
        holds=lambda gpu: gpu.ownership != "Exclusive" or gpu.shared_with == "Job",
        message=(
            "must be Job with ownership Exclusive, since nobody shares a GPU that the kubelet "
            "hands out; remove it, or set ownership: Pool"
        ),
        cel="self.ownership != 'Exclusive' || self.sharedWith == 'Job'",
    ),
)
