"""What Carpool's resources are called, and what kubectl shows of them."""

from __future__ import annotations

from dataclasses import dataclass

from carpool.spec.gpu_node import GPU_NODE_KIND, GpuNode
from carpool.spec.job import API_VERSION, KIND, InferenceJob
from carpool.spec.mutability import Transition, transitions
from carpool.spec.strict import StrictModel

GROUP, VERSION = API_VERSION.split("/")
CATEGORY = "carpool"
"""`kubectl get carpool` lists all of them; a category of our own, since `all` is for workloads."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a wide one is shown with `-o wide`."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource: its model and its names."""

    model: type[StrictModel]
    kind: str
    plural: str
    short_name: str
    namespaced: bool
    columns: tuple[Column, ...]
    transitions: tuple[Transition, ...] = ()

    @property
    def name(self) -> str:
        """The name of its definition."""
        return f"{self.plural}.{GROUP}"


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was created.", type="date")


def _reason(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].reason'


INFERENCE_JOBS = Resource(
    model=InferenceJob,
    kind=KIND,
    plural="inferencejobs",
    short_name="ij",
    namespaced=True,
    columns=(
        Column("Phase", ".status.phase", "What the job does now."),
        Column("Progress", ".status.progress.display", "Frames done, of all frames."),
        Column("Rate", ".status.progress.rate", "Frames a second."),
        Column("ETA", ".status.progress.eta", "Time until the end, at this rate."),
        Column("GPUs", ".status.gpus.display", "GPU slots ready, of those reserved."),
        _AGE,
        Column("Attempt", ".status.attempt", "Attempts started.", type="integer", wide=True),
        Column("Reason", _reason("Finished"), "Why it ended.", wide=True),
        Column("Output", ".status.output", "Folder with the results.", wide=True),
    ),
    transitions=transitions(),
)
GPU_NODES = Resource(
    model=GpuNode,
    kind=GPU_NODE_KIND,
    plural="gpunodes",
    short_name="gn",
    namespaced=False,
    columns=(
        Column("Product", ".status.gpus[0].product", "Product of the first GPU."),
        Column("GPUs", ".status.gpuCount", "Devices.", type="integer"),
        Column("Healthy", ".status.healthyCount", "Devices that are healthy.", type="integer"),
        Column(
            "Executors",
            ".status.assigned.executors",
            "Executors on its devices.",
            type="integer",
        ),
        Column(
            "Free Memory",
            ".status.assigned.freeMemory",
            "Memory of its healthy devices that no executor was promised.",
        ),
        Column("Heartbeat", ".status.heartbeatTime", "Time since it was found true.", type="date"),
        _AGE,
        Column("Memory", ".status.gpus[0].memory", "Memory of the first GPU.", wide=True),
        Column("Driver", ".status.driverVersion", "Version of NVIDIA's driver.", wide=True),
    ),
)
