"""The GPUNode: what a node's agent knows of its GPUs, for the operator that hands them out.

Cluster-scoped, with the name of its node. It has no spec: nothing in it is asked for, everything is
observed. What must stay true: it changes when the node or what was assigned changes, not with the
load, so utilisation and memory in use are metrics and no fields; agent and operator each write
their own part of the status and leave the other's. A GPU is known by its UUID, never by its index,
which the driver may give to another GPU at the next boot.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from carpool.spec.metadata import ObjectMeta
from carpool.spec.quantity import ByteQuantity
from carpool.spec.rules import Rule
from carpool.spec.strict import INT32_MAX, StrictModel
from carpool.spec.text import Message, ObjectName, ShortText, Timestamp, form

GPU_NODE_KIND: Literal["GPUNode"] = "GPUNode"
MOST_GPUS = 128
"""16 GPUs, each cut into 7 MIG devices, and room for more."""

Health = Literal["Healthy", "Unhealthy", "Lost"]

GpuUuid = Annotated[
    str,
    form(
        # Devices of MIG were named MIG-GPU-UUID/INSTANCE/INSTANCE by drivers before 470.
        r"^(GPU|MIG)-[A-Za-z0-9]([A-Za-z0-9/-]*[A-Za-z0-9])?$",
        "the UUID of a GPU as nvidia-smi -L prints it",
        96,
    ),
]
FreeMemory = Annotated[
    str,
    form(
        r"^(0|[1-9][0-9]{0,6})(\.[0-9])?Gi$", 'GiB with at most one decimal, such as "22.4Gi"', 12
    ),
]
PodUid = Annotated[
    str,
    form(r"^[0-9a-f]([0-9a-f-]*[0-9a-f])?$", "the UID of a pod", 64),
]


class GpuNodeMeta(ObjectMeta):
    """Name and marks of the GPUNode."""

    name: ObjectName = Field(description="Name of the node.", examples=["gpu-7"])


class MigDevice(StrictModel):
    """What a MIG device is a part of."""

    profile: ShortText = Field(
        description="Its share, as NVIDIA names it.", examples=["1g.10gb", "3g.40gb"]
    )
    parent_uuid: GpuUuid = Field(description="UUID of the GPU that it is a part of.")


class Xid(StrictModel):
    """An error that the driver reported for a GPU."""

    code: int = Field(
        ge=1,
        le=INT32_MAX,
        description="The code; NVIDIA's Xid catalogue explains it.",
        examples=[79],
    )
    time: Timestamp = Field(description="When it was reported.")


class GpuProcess(StrictModel):
    """A process that has a context on a GPU."""

    pid: int = Field(ge=1, le=INT32_MAX, description="Its id in the node's namespace.")
    pod_uid: PodUid | None = Field(
        default=None, description="Pod that it runs in; absent: none, or it could not be told."
    )


class Gpu(StrictModel):
    """One device that an executor can be given: a whole GPU, or a MIG device."""

    uuid: GpuUuid = Field(
        description="UUID of the device.", examples=["GPU-5f9c0a4e-6d2b-4a53-9f0e-0f6b8c2d7a11"]
    )
    product: ShortText = Field(description="Name of the product.", examples=["NVIDIA L4"])
    memory: ByteQuantity = Field(description="All of its memory.", examples=["23034Mi"])
    pci_address: ShortText | None = Field(
        default=None,
        description="Where it is on the PCI bus, as the kernel's log names it.",
        examples=["0000:3b:00.0"],
    )
    minor: int | None = Field(
        default=None,
        ge=0,
        le=INT32_MAX,
        description="Number of its device file; another one after the next boot, maybe.",
    )
    numa_node: int | None = Field(
        default=None,
        ge=0,
        le=1023,
        description="NUMA node that it is attached to; absent: the machine has only one.",
    )
    mig: MigDevice | None = Field(
        default=None, description="For a MIG device: what it is a part of."
    )
    health: Health = Field(
        description=(
            "Healthy: it takes executors. Unhealthy: it answers, after an error that only a reset "
            "clears. Lost: it no longer answers."
        ),
    )
    health_message: Message | None = Field(
        default=None, description="Why it is not healthy, as a sentence."
    )
    last_xid: Xid | None = Field(default=None, description="The last error of the driver for it.")
    processes: list[GpuProcess] = Field(
        default=[],
        max_length=128,
        description=(
            "Processes on it; the first 128 by their ids. Empty too where the agent may not see "
            "the node's processes."
        ),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["pid"],
        },
    )

    @classmethod
    def rules(cls) -> tuple[Rule[Gpu], ...]:
        """What must hold between the fields of this model."""
        return _GPU_RULES


class AssignedGpus(StrictModel):
    """What the operator has assigned of a node's GPUs; some seconds old, and only to look at."""

    executors: int = Field(
        ge=0,
        le=INT32_MAX,
        description="Executors on its GPUs, for the column EXECUTORS; slots that are held count.",
    )
    free_memory: FreeMemory = Field(
        description=(
            "Memory of its healthy GPUs that no executor was promised, rounded down to a tenth of "
            "a GiB, for the column FREE MEMORY."
        ),
        examples=["22.4Gi", "0Gi"],
    )


class GpuNodeStatus(StrictModel):
    """What the node's agent observed, and what the operator has assigned."""

    boot_id: ShortText = Field(
        description="Boot of the node; after another one nothing that was known of it holds.",
        examples=["6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52"],
    )
    driver_version: ShortText | None = Field(
        default=None,
        description="Version of NVIDIA's driver; absent: no driver answers.",
        examples=["570.124.06"],
    )
    message: Message | None = Field(
        default=None,
        description="What is wrong with the node's driver, or with GPUs that cannot be named.",
    )
    heartbeat_time: Timestamp = Field(
        description="When the agent last found this true; what is old is not relied upon."
    )
    gpu_count: int = Field(ge=0, le=MOST_GPUS, description="Devices, for the column GPUS.")
    healthy_count: int = Field(
        ge=0, le=MOST_GPUS, description="Devices that are Healthy, for the column HEALTHY."
    )
    gpus: list[Gpu] = Field(
        default=[],
        max_length=MOST_GPUS,
        description="Devices that executors can be given.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uuid"],
        },
    )
    assigned: AssignedGpus | None = Field(
        default=None, description="What the operator has assigned; absent until it has looked."
    )

    @classmethod
    def rules(cls) -> tuple[Rule[GpuNodeStatus], ...]:
        """What must hold between the fields of this model."""
        return _STATUS_RULES


class GpuNode(StrictModel):
    """The GPUs of one node, written by its agent and the operator when something changes."""

    api_version: Literal["carpool.dev/v1alpha1"] = Field(description="Version of this format.")
    kind: Literal["GPUNode"] = Field(description="What this document is.")
    metadata: GpuNodeMeta = Field(description="Name and marks of the GPUNode.")
    status: GpuNodeStatus | None = Field(
        default=None,
        description="What the node's agent observed, and what was assigned; absent until it has.",
    )


def _processes_once(gpu: Gpu) -> bool:
    return len({process.pid for process in gpu.processes}) == len(gpu.processes)


_GPU_RULES: tuple[Rule[Gpu], ...] = (
    Rule(
        field="processes",
        holds=_processes_once,
        message="has two processes of one pid; keep one",
        # The API server knows a list of type map, whose key is `pid`.
        cel=None,
    ),
)
_STATUS_RULES: tuple[Rule[GpuNodeStatus], ...] = (
    Rule(
        field="gpus",
        holds=lambda status: len({gpu.uuid for gpu in status.gpus}) == len(status.gpus),
        message="has two devices of one UUID; keep one",
        # The API server knows a list of type map, whose key is `uuid`.
        cel=None,
    ),
    Rule(
        field="gpuCount",
        holds=lambda status: status.gpu_count == len(status.gpus),
        message="is not the number of gpus; count them again",
        cel="self.gpuCount == (has(self.gpus) ? size(self.gpus) : 0)",
    ),
    Rule(
        field="healthyCount",
        holds=lambda status: (
            status.healthy_count == sum(gpu.health == "Healthy" for gpu in status.gpus)
        ),
        message="is not the number of gpus that are Healthy; count them again",
        cel=(
            "self.healthyCount == "
            "(has(self.gpus) ? size(self.gpus.filter(gpu, gpu.health == 'Healthy')) : 0)"
        ),
    ),
)
