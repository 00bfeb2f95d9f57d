"""The only way to NVIDIA's driver: NVML, through its own binding `pynvml`.

Every error of NVML ends here, as one of three things: a fact that the device does not tell (None),
a device that does not answer (`GpuFailed`), or a driver that cannot be used (`DriverUnusable`). The
calls block, some for seconds when hardware fails, so they belong in threads; NVML allows several.
https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import pynvml

from carpool_operator.agent.devices import (
    Device,
    GpuReading,
    Load,
    MigPart,
    Reading,
    XidEvent,
)
from carpool_operator.errors import DriverUnusable, GpuFailed

log = logging.getLogger(__name__)

_WAIT_MS: Final = 500
"""How long a wait for errors blocks, and with it the end of the thread that waits."""
_WHOLE_GPU: Final = 0xFFFF_FFFF

_NO_DRIVER: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "there is no libnvidia-ml.so.1: the node has no NVIDIA driver, or the container runtime "
        "did not mount its libraries"
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's kernel module is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "NVIDIA's library is of another version than its kernel module: the driver was changed "
        "under a running container, and a new one gets the new library"
    ),
    pynvml.NVML_ERROR_UNINITIALIZED: "NVML was shut down",
    pynvml.NVML_ERROR_NO_PERMISSION: "the agent may not open NVIDIA's device files",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "libnvidia-ml.so.1 lacks a function: it is too old",
}
_NOTHING_ANSWERS: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    }
)
"""Errors of a call about one GPU that are about all."""
_LOST: Final = frozenset(
    {
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
        pynvml.NVML_ERROR_NOT_FOUND,
    }
)
_NOT_OF_THE_FACT: Final = frozenset(
    {
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""Errors that say more than that a GPU does not tell what it was asked. A GPU that is out of order
fails where its UUID, its name or its memory is asked for."""
_UNUSABLE: Final = {
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU must be reset before it can be used again",
    pynvml.NVML_ERROR_INSUFFICIENT_POWER: "the GPU's power cables are not attached properly",
    pynvml.NVML_ERROR_IRQ_ISSUE: "the kernel reports trouble with the GPU's interrupts",
}
_RECOVERY: Final = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "the driver asks for a reset of the GPU",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "the driver asks for a reboot of the node",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: (
        "the driver asks to drain the GPUs that are linked with it"
    ),
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: (
        "the driver asks to drain the GPU and to reset it"
    ),
    pynvml.NVML_GPU_RECOVERY_ACTION_BUS_RESET: "the driver asks for a reset of the GPU's bus",
    pynvml.NVML_GPU_RECOVERY_ACTION_SYSTEM_REBOOT: "the driver asks for a reboot of the system",
}


class Nvml:
    """NVML from its initialisation to its shutdown; one at a time in a process."""

    def __init__(self, driver_version: str, sys_folder: Path) -> None:
        """Use `open`."""
        self.driver_version = driver_version
        self._sys = sys_folder
        self._uuids: dict[int, str] = {}
        self._devices: dict[str, Device] = {}

    @classmethod
    def open(cls, sys_folder: Path) -> Self:
        """Initialise NVML.

        Args:
            sys_folder: /sys of the node, or what stands for it.

        Raises:
            DriverUnusable: there is no driver that answers.
        """
        try:
            pynvml.nvmlInit()
            try:
                version = pynvml.nvmlSystemGetDriverVersion()
            except pynvml.NVMLError:
                pynvml.nvmlShutdown()
                raise
        except pynvml.NVMLError as error:
            raise _driver_unusable(error) from error
        return cls(str(version), sys_folder)

    def close(self) -> None:
        """Shut NVML down; nobody may be in a call."""
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            log.info("Could not shut NVML down", extra={"error": str(error)})

    def count(self) -> int:
        """How many physical GPUs the driver knows.

        Raises:
            DriverUnusable: it does not answer any more.
        """
        try:
            return int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            raise _driver_unusable(error) from error

    def uuid_at(self, index: int) -> str | None:
        """UUID of the GPU that last answered at an index."""
        return self._uuids.get(index)

    def read(self, index: int) -> GpuReading:
        """Read the physical GPU at an index.

        Raises:
            GpuFailed: it does not answer.
            DriverUnusable: nothing does.
        """
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = str(pynvml.nvmlDeviceGetUUID(handle))
            self._uuids[index] = uuid
            if not _mig_is_on(handle):
                return GpuReading(uuid, (self._whole(handle, uuid),))
            trouble = _trouble(handle)
            parts = [
                self._part(part, uuid, handle, trouble)
                for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
                if (part := _mig_handle(handle, number)) is not None
            ]
            return GpuReading(uuid, tuple(parts))
        except pynvml.NVMLError as error:
            raise self._failed(index, error) from error

    def _failed(self, index: int, error: pynvml.NVMLError) -> GpuFailed | DriverUnusable:
        if error.value in _UNUSABLE:
            return GpuFailed(_UNUSABLE[error.value], self._uuids.get(index), lost=False)
        if error.value in _LOST:
            return GpuFailed("the driver has lost the GPU", self._uuids.get(index), lost=True)
        if error.value in _NOTHING_ANSWERS:
            return _driver_unusable(error)
        return GpuFailed(
            f"the driver cannot read the GPU: {error}", self._uuids.get(index), lost=False
        )

    def _whole(self, handle: Any, uuid: str) -> Reading:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        device = self._devices.get(uuid)
        if device is None:
            device = self._devices[uuid] = self._describe(handle, uuid, int(memory.total))
        return Reading(device, _load(handle, memory), _trouble(handle), _pids(handle))

    def _describe(self, handle: Any, uuid: str, memory: int) -> Device:
        pci = _told(pynvml.nvmlDeviceGetPciInfo, handle)
        address = None if pci is None else _pci_address(_text(pci.busId))
        return Device(
            uuid=uuid,
            product=str(pynvml.nvmlDeviceGetName(handle)),
            memory=memory,
            pci_address=address,
            minor=_told(pynvml.nvmlDeviceGetMinorNumber, handle),
            numa_node=_numa_node(self._sys, address),
        )

    def _part(self, handle: Any, parent: str, parent_handle: Any, trouble: str | None) -> Reading:
        uuid = str(pynvml.nvmlDeviceGetUUID(handle))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        device = self._devices.get(uuid)
        if device is None:
            whole = self._describe(parent_handle, parent, 0)
            device = self._devices[uuid] = Device(
                uuid=uuid,
                product=whole.product,
                memory=int(memory.total),
                pci_address=whole.pci_address,
                minor=whole.minor,
                numa_node=whole.numa_node,
                mig=MigPart(
                    parent=parent,
                    profile=_profile(handle),
                    gpu_instance=pynvml.nvmlDeviceGetGpuInstanceId(handle),
                    compute_instance=pynvml.nvmlDeviceGetComputeInstanceId(handle),
                ),
            )
        return Reading(device, _load(handle, memory), trouble, _pids(handle))

    def watch(
        self, seen: Callable[[XidEvent], None], stop: threading.Event, watching: threading.Event
    ) -> None:
        """Hand over the driver's errors as they come, until `stop` is set.

        Args:
            seen: called in this thread.
            stop: looked at twice a second.
            watching: set as soon as errors cannot be missed any more.

        Raises:
            DriverUnusable: errors cannot be waited for, or not any more.
        """
        try:
            events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError as error:
            raise _driver_unusable(error) from error
        try:
            known = self._register(events)
            watching.set()
            while not stop.is_set():
                event = _next(events)
                if event is not None and event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                    seen(_xid(event, known))
        except pynvml.NVMLError as error:
            raise _driver_unusable(error) from error
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(events)

    def _register(self, events: Any) -> dict[int, str]:
        """UUIDs of GPUs whose errors come, by the addresses of their handles."""
        known = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(pynvml.nvmlDeviceGetUUID(handle))
                offered = pynvml.nvmlDeviceGetSupportedEventTypes(handle)
                wanted = offered & pynvml.nvmlEventTypeXidCriticalError
                # A GPU without such errors refuses to be asked for none.
                pynvml.nvmlDeviceRegisterEvents(handle, wanted, events)
            except pynvml.NVMLError as error:
                log.warning(
                    "No errors of the driver will be heard of a GPU",
                    extra={"index": index, "gpu": self._uuids.get(index), "error": str(error)},
                )
            else:
                known[_address(handle)] = uuid
        return known


def _driver_unusable(error: pynvml.NVMLError) -> DriverUnusable:
    return DriverUnusable(
        _NO_DRIVER.get(error.value, f"NVIDIA's driver does not answer: {error}"),
        other_version=error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    )


def _told(ask: Callable[..., Any], *arguments: Any) -> Any:
    """An answer; None where the device has none. What says that it is gone is raised."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _NOT_OF_THE_FACT:
            raise
        return None


def _mig_is_on(handle: Any) -> bool:
    modes = _told(pynvml.nvmlDeviceGetMigMode, handle)
    return modes is not None and modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def _mig_handle(handle: Any, number: int) -> Any:
    """The MIG device of this number; None where there is none."""
    try:
        return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
    except pynvml.NVMLError as error:
        if error.value in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}:
            return None
        raise


def _profile(handle: Any) -> str:
    """Of a MIG device: its name ends with it ("NVIDIA A100 MIG 1g.5gb")."""
    _, sign, profile = str(pynvml.nvmlDeviceGetName(handle)).rpartition(" MIG ")
    if sign:
        return profile
    shares = pynvml.nvmlDeviceGetAttributes(handle)
    return f"{shares.gpuInstanceSliceCount}g.{round(shares.memorySizeMB / 1024)}gb"


def _trouble(handle: Any) -> str | None:
    """Why a GPU that answers should not be used."""
    wanted = _told(
        pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
    )
    # Drivers before 550 do not know the field.
    if wanted is not None and wanted[0].nvmlReturn == pynvml.NVML_SUCCESS:
        action = _RECOVERY.get(wanted[0].value.uiVal)
        if action is not None:
            return action
    rows = _told(pynvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None and rows[3]:
        return "defective rows of the GPU's memory could not be replaced: it needs repair"
    return None


def _load(handle: Any, memory: Any) -> Load:
    rates = _told(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return Load(
        utilisation=None if rates is None else rates.gpu / 100,
        memory_used=int(memory.used),
        temperature=_told(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
    )


def _pids(handle: Any) -> tuple[int, ...]:
    found: set[int] = set()
    for ask in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetMPSComputeRunningProcesses,
    ):
        found.update(process.pid for process in _told(ask, handle) or ())
    return tuple(sorted(found - {0}))


def _pci_address(bus_id: str) -> str:
    """NVML writes the domain with 8 digits, the kernel with 4."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else bus_id.lower()


def _numa_node(sys_folder: Path, address: str | None) -> int | None:
    """The NUMA node that a GPU is attached to; NVML tells only that of its own memory."""
    if address is None:
        return None
    try:
        node = int((sys_folder / "bus/pci/devices" / address / "numa_node").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _next(events: Any) -> Any:
    try:
        return pynvml.nvmlEventSetWait(events, _WAIT_MS)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_TIMEOUT:
            return None
        raise


def _xid(event: Any, known: dict[int, str]) -> XidEvent:
    try:
        uuid: str | None = str(pynvml.nvmlDeviceGetUUID(event.device))
    except pynvml.NVMLError:
        # Of a lost GPU nothing is told, but its handle is the one that was registered.
        uuid = known.get(_address(event.device))
    whole = _WHOLE_GPU in {event.gpuInstanceId, event.computeInstanceId}
    return XidEvent(
        uuid=uuid,
        code=int(event.eventData),
        time=time.time(),
        gpu_instance=None if whole else int(event.gpuInstanceId),
        compute_instance=None if whole else int(event.computeInstanceId),
    )


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
