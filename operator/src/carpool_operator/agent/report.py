"""What the GPUNode says, and when it is written: pure.

Whatever changes the health of a device, or which devices there are, is written at once; anything
else at most every `change` seconds. Where nothing changes a heartbeat says that it is still true:
the allocator relies on no report that is older than 90 s, so with one every 30 s, jittered by a
fifth, one may be lost. A thousand nodes then write 33 times a second, which costs the API server
and etcd a quarter of a core (benchmarks/agent/results).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from carpool.spec.gpu_node import MOST_GPUS, Gpu, GpuProcess, MigDevice, Xid
from carpool_operator.agent.inventory import Inventory, Known
from carpool_operator.domain.timestamps import rfc3339

_MOST_PROCESSES: Final = 128
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often the GPUNode is written.

    Attributes:
        change: the least seconds between two writes, unless a device's health has changed.
        heartbeat: the most seconds between two writes; jittered by the caller.
    """

    change: float = 10.0
    heartbeat: float = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said of a node, without the time.

    Attributes:
        gpus: as the GPUNode has them, JSON.
        healthy: how many of them are.
    """

    boot_id: str
    driver_version: str | None
    message: str | None
    gpus: tuple[dict[str, Any], ...]
    healthy: int

    @property
    def urgent(self) -> object:
        """What must not wait: equal for reports that tell the same about health."""
        devices = tuple((gpu["uuid"], gpu["health"]) for gpu in self.gpus)
        return self.boot_id, self.driver_version, self.message, devices

    def status(self, now: float) -> dict[str, Any]:
        """The agent's part of the GPUNode's status, null where it is absent; `now` is Unix time."""
        return {
            "bootID": self.boot_id,
            "driverVersion": self.driver_version,
            "message": self.message,
            "heartbeatTime": rfc3339(now),
            "gpuCount": len(self.gpus),
            "healthyCount": self.healthy,
            "gpus": list(self.gpus),
        }


def report_of(inventory: Inventory, boot_id: str, pod_of: Mapping[int, str] | None) -> Report:
    """What is to be said of a node.

    Args:
        inventory: its devices.
        boot_id: of the node.
        pod_of: UIDs of pods by pid, without those of no pod; None: pids mean nothing here, and no
            process is reported.
    """
    refused = 0
    gpus = []
    for known in inventory.devices:
        try:
            gpus.append(_gpu(known, pod_of))
        except ValidationError:
            # An UUID of a form that no GPU of NVIDIA's has had; no executor can be given it.
            refused += 1
    left_out = refused + len(gpus[MOST_GPUS:])
    gpus = gpus[:MOST_GPUS]
    message = inventory.message
    if left_out:
        many = left_out > 1
        message = (
            f"{left_out} device{'s are' if many else ' is'} left out, since the GPUNode cannot "
            f"hold {'them' if many else 'it'}."
        )
    return Report(
        boot_id=boot_id,
        driver_version=inventory.driver_version,
        message=message,
        gpus=tuple(gpu.model_dump(mode="json", exclude_defaults=True) for gpu in gpus),
        healthy=sum(gpu.health == "Healthy" for gpu in gpus),
    )


def next_write(
    report: Report, written: Report | None, written_at: float, heartbeat: float, cadence: Cadence
) -> float:
    """When a report is to be written.

    Args:
        report: what is to be said.
        written: what was last said; None: nothing yet.
        written_at: seconds, on any clock.
        heartbeat: seconds after that at which it is said again.
        cadence: how often otherwise.

    Returns:
        Seconds, on the same clock; not later than `written_at` means at once.
    """
    if written is None or report.urgent != written.urgent:
        return written_at
    if report != written:
        return written_at + min(cadence.change, heartbeat)
    return written_at + heartbeat


def _gpu(known: Known, pod_of: Mapping[int, str] | None) -> Gpu:
    device, health = known.device, known.health
    return Gpu(
        uuid=device.uuid,
        product=device.product[:256],
        memory=_quantity(device.memory),
        pci_address=device.pci_address,
        minor=device.minor,
        numa_node=device.numa_node,
        mig=MigDevice(profile=device.mig.profile[:256], parent_uuid=device.mig.parent)
        if device.mig
        else None,
        health=health.health,
        health_message=health.message,
        last_xid=Xid(code=health.last_xid.code, time=rfc3339(health.last_xid.time))
        if health.last_xid
        else None,
        processes=[]
        if pod_of is None
        else [GpuProcess(pid=pid, pod_uid=pod_of.get(pid)) for pid in known.pids[:_MOST_PROCESSES]],
    )


def _quantity(amount: int) -> str:
    return f"{amount // _MIB}Mi" if amount % _MIB == 0 else str(amount)
