"""All devices of a node that were seen since it was booted, and their health: pure.

What must stay true: a device that stops answering stays, as Lost, since executors may be assigned
to it; one whose GPU answers without it (MIG was cut anew) goes. What one GPU answers changes
nothing about another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from carpool.errors import SpecError
from carpool.spec.gpu_node import GpuNodeStatus
from carpool.spec.quantity import quantity_bytes
from carpool_operator.agent.devices import Device, Load, Look, MigPart, Reading, XidEvent
from carpool_operator.agent.health import (
    DeviceHealth,
    HealthPolicy,
    LastXid,
    answered,
    reported,
    silent,
)
from carpool_operator.domain.timestamps import unix_time

_UNLISTED: Final = "The driver no longer lists it."


@dataclass(frozen=True, slots=True)
class Known:
    """A device, and what is known of it; no load while it does not answer."""

    device: Device
    health: DeviceHealth
    load: Load | None = None
    pids: tuple[int, ...] = ()


class Inventory:
    """The devices of one boot of a node."""

    def __init__(self, policy: HealthPolicy, known: Iterable[Known] = ()) -> None:
        """Begin with what an earlier agent reported of this boot."""
        self._policy = policy
        self._known = {each.device.uuid: each for each in known}
        self.driver_version: str | None = None
        self.message: str | None = None

    @property
    def devices(self) -> tuple[Known, ...]:
        """All devices, in the order of their places."""
        return tuple(sorted(self._known.values(), key=_place))

    def take(self, look: Look, now: float) -> None:
        """Take in a look; `now` is in seconds, monotonic."""
        self.driver_version = look.driver_version
        if look.driver_version is None:
            self.message = as_sentence(look.trouble or "no driver of NVIDIA's answers")
            self._without(self._known, {}, self.message, now)
            return
        readings = {found.device.uuid: found for gpu in look.answers for found in gpu.readings}
        answering = {gpu.uuid for gpu in look.answers}
        missing = [uuid for uuid in self._known if uuid not in readings]
        for uuid in missing:
            if _gpu_of(self._known[uuid].device) in answering:
                del self._known[uuid]
        why = {gone.uuid: (as_sentence(gone.why), gone.certain) for gone in look.silent}
        self._without([uuid for uuid in missing if uuid in self._known], why, _UNLISTED, now)
        for uuid, reading in readings.items():
            self._answered(uuid, reading, now)
        self.message = self._strangers(look, answering)

    def hear(self, event: XidEvent, now: float) -> tuple[str, ...]:
        """Take in an error of the driver; returns the UUIDs of the devices that it is about."""
        concerned = tuple(
            uuid for uuid, each in self._known.items() if _is_about(event, each.device)
        )
        for uuid in concerned:
            each = self._known[uuid]
            health = reported(each.health, event.code, event.time, now, self._policy)
            self._known[uuid] = replace(each, health=health)
        return concerned

    def forget_lost(self) -> None:
        """Forget the devices that are lost: somebody has taken them out for good."""
        self._known = {
            uuid: each for uuid, each in self._known.items() if each.health.health != "Lost"
        }

    def _answered(self, uuid: str, reading: Reading, now: float) -> None:
        known = self._known.get(uuid)
        health = answered(
            known.health if known else DeviceHealth(),
            None if reading.trouble is None else as_sentence(reading.trouble),
            now,
            self._policy,
        )
        self._known[uuid] = Known(reading.device, health, reading.load, reading.pids)

    def _without(
        self,
        missing: Iterable[str],
        why: Mapping[str | None, tuple[str, bool]],
        otherwise: str,
        now: float,
    ) -> None:
        for uuid in tuple(missing):
            each = self._known[uuid]
            sentence, certain = why.get(_gpu_of(each.device), (otherwise, False))
            health = silent(each.health, sentence, now, certain=certain)
            # Until it is lost, what was last seen of it holds.
            pids = () if health.health == "Lost" else each.pids
            self._known[uuid] = Known(each.device, health, None, pids)

    def _strangers(self, look: Look, answering: set[str]) -> str | None:
        """What is to be said of GPUs that never answered, so that nothing is known of them."""
        gone = {_gpu_of(each.device) for each in self._known.values()} - answering
        strangers = len(look.silent) - len(gone)
        if strangers <= 0:
            return None
        why = next((silence.why for silence in look.silent if silence.uuid not in gone), "")
        count = "1 GPU does" if strangers == 1 else f"{strangers} GPUs do"
        return as_sentence(f"{count} not answer and cannot be identified: {why}")


def adopted(status: Mapping[str, Any] | None, boot_id: str, now: float) -> tuple[Known, ...]:
    """What an earlier agent reported of this boot of the node.

    Args:
        status: of the GPUNode, as JSON.
        boot_id: of the node now; after another boot nothing holds.
        now: seconds, monotonic: a device in trouble must be well for the whole time from here on.
    """
    if not status or status.get("bootID") != boot_id:
        return ()
    try:
        reported_before = GpuNodeStatus.model_validate(
            status, by_alias=True, by_name=False, extra="ignore"
        )
        return tuple(
            Known(
                Device(
                    uuid=gpu.uuid,
                    product=gpu.product,
                    memory=quantity_bytes(gpu.memory),
                    pci_address=gpu.pci_address,
                    minor=gpu.minor,
                    numa_node=gpu.numa_node,
                    mig=MigPart(gpu.mig.parent_uuid, gpu.mig.profile, -1, -1) if gpu.mig else None,
                ),
                DeviceHealth(
                    health=gpu.health,
                    message=gpu.health_message,
                    last_xid=LastXid(gpu.last_xid.code, unix_time(gpu.last_xid.time) or 0.0)
                    if gpu.last_xid
                    else None,
                    bad_at=None if gpu.health == "Healthy" else now,
                ),
            )
            for gpu in reported_before.gpus
        )
    except (ValidationError, SpecError):
        # Of a version that is not ours; what is there is seen again in a moment.
        return ()


def as_sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _gpu_of(device: Device) -> str:
    """UUID of the physical GPU that a device is, or is a part of."""
    return device.uuid if device.mig is None else device.mig.parent


def _is_about(event: XidEvent, device: Device) -> bool:
    if event.uuid is None or _gpu_of(device) != event.uuid:
        return False
    if event.gpu_instance is None or device.mig is None:
        return True
    return (device.mig.gpu_instance, device.mig.compute_instance) == (
        event.gpu_instance,
        event.compute_instance,
    )


def _place(known: Known) -> tuple[str, int, int, str]:
    mig = known.device.mig
    instances = (-1, -1) if mig is None else (mig.gpu_instance, mig.compute_instance)
    return (known.device.pci_address or "", *instances, known.device.uuid)
