"""What one look at a node's GPUs gives: records without behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MigPart:
    """What a MIG device is a part of.

    Attributes:
        parent: UUID of the GPU.
        profile: its share, as NVIDIA names it: "1g.10gb".
        gpu_instance, compute_instance: ids by which the driver's errors name it.
    """

    parent: str
    profile: str
    gpu_instance: int
    compute_instance: int


@dataclass(frozen=True, slots=True)
class Device:
    """What of a device stays as it is while the node is up: a whole GPU, or a MIG device.

    Attributes:
        memory: bytes, all of it.
        pci_address: as the kernel's log names the GPU, such as "0000:3b:00.0".
        minor: of its device file, /dev/nvidia0 for example.
        numa_node: None where the machine has only one.
    """

    uuid: str
    product: str
    memory: int
    pci_address: str | None = None
    minor: int | None = None
    numa_node: int | None = None
    mig: MigPart | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What changes with the work on a device; None where the device does not tell.

    Attributes:
        utilisation: share of the last moments in which a kernel ran, 0 to 1.
        memory_used: bytes, the driver's own included.
        temperature: degrees Celsius.
    """

    utilisation: float | None
    memory_used: int | None
    temperature: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A device that answered.

    Attributes:
        trouble: why it should not be used although it answers, as a sentence.
        pids: ids of the processes on it, in the node's namespace, ascending.
    """

    device: Device
    load: Load
    trouble: str | None = None
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A physical GPU that answered.

    Attributes:
        uuid: of the GPU.
        readings: of the GPU itself, or of its MIG devices where MIG is on; none are cut yet: empty.
    """

    uuid: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Silence:
    """A physical GPU that did not answer, or with an error.

    Attributes:
        uuid: of the GPU; None where it never answered.
        why: a sentence.
        certain: the driver itself says that the GPU is lost; otherwise it may be a hiccup.
    """

    uuid: str | None
    why: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all GPUs of a node.

    Attributes:
        driver_version: None where there is no usable driver.
        trouble: why there is no usable driver, as a sentence.
    """

    driver_version: str | None
    answers: tuple[GpuReading, ...] = ()
    silent: tuple[Silence, ...] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class XidEvent:
    """An error that the driver reported.

    Attributes:
        uuid: of the physical GPU; None where it could not be told.
        code: the Xid.
        time: when it was reported, as Unix time.
        gpu_instance, compute_instance: of the MIG device that it is about; None: the whole GPU.
    """

    uuid: str | None
    code: int
    time: float
    gpu_instance: int | None = None
    compute_instance: int | None = None
