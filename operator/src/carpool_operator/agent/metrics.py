"""The agent's metrics, for Prometheus: each device of its node, and the agent itself.

Devices are collected when they are asked for, so that one that is gone leaves no series behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from carpool_operator.agent.inventory import Inventory, Known
from carpool_operator.domain.cluster_state import Health
from carpool_operator.observability.metrics import API_REQUESTS, API_SECONDS

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
for _shared in (API_REQUESTS, API_SECONDS):
    REGISTRY.register(_shared)

XIDS = Counter(
    "carpool_gpu_xids_total",
    "Errors that the driver reported, by GPU (empty: it could not be told) and code.",
    ["gpu", "xid"],
    registry=REGISTRY,
)
LOOK_SECONDS = Histogram(
    "carpool_agent_look_seconds",
    "Time to ask the driver and all GPUs.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    registry=REGISTRY,
)
REPORTS = Counter(
    "carpool_agent_reports_total",
    "Writes of the GPUNode, by result: written, or the reason of the failure.",
    ["result"],
    registry=REGISTRY,
)
DRIVER_USABLE = Gauge(
    "carpool_agent_driver_usable", "1 while NVIDIA's driver answers.", registry=REGISTRY
)
UNIDENTIFIED = Gauge(
    "carpool_agent_silent_gpus", "Physical GPUs that do not answer now.", registry=REGISTRY
)
HEARS_XIDS = Gauge(
    "carpool_agent_hears_xids", "1 while the driver's errors are listened to.", registry=REGISTRY
)

Value = Callable[[Known], float | None]
_PER_DEVICE: Final[tuple[tuple[str, str, Value], ...]] = (
    (
        "carpool_gpu_utilisation_ratio",
        "Share of the last moments in which a kernel ran.",
        lambda known: known.load.utilisation if known.load else None,
    ),
    (
        "carpool_gpu_memory_bytes",
        "All memory of the device.",
        lambda known: known.device.memory,
    ),
    (
        "carpool_gpu_memory_used_bytes",
        "Memory in use, the driver's own included.",
        lambda known: known.load.memory_used if known.load else None,
    ),
    (
        "carpool_gpu_temperature_celsius",
        "Temperature of the GPU.",
        lambda known: known.load.temperature if known.load else None,
    ),
    (
        "carpool_gpu_processes",
        "Processes with a context on the device.",
        lambda known: len(known.pids),
    ),
    (
        "carpool_gpu_last_xid",
        "Code of the last error that the driver reported.",
        lambda known: known.health.last_xid.code if known.health.last_xid else None,
    ),
)


class DeviceCollector(Collector):
    """The devices of an inventory, as they are when they are asked for."""

    def __init__(self, inventory: Inventory) -> None:
        """Collect from this inventory."""
        self._inventory = inventory

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first look."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """A metric at a time."""
        devices = self._inventory.devices
        for name, text, value in _PER_DEVICE:
            family = GaugeMetricFamily(name, text, labels=["gpu"])
            for known in devices:
                amount = value(known)
                if amount is not None:
                    family.add_metric([known.device.uuid], float(amount))
            yield family
        yield self._health(devices)
        yield self._info(devices)

    def _health(self, devices: tuple[Known, ...]) -> Metric:
        family = GaugeMetricFamily(
            "carpool_gpu_health", "1 for the health that a device has.", labels=["gpu", "health"]
        )
        for known in devices:
            for health in get_args(Health):
                holds = float(known.health.health == health)
                family.add_metric([known.device.uuid, health], holds)
        return family

    def _info(self, devices: tuple[Known, ...]) -> Metric:
        labels = ["gpu", "product", "pci_address", "minor", "numa_node", "mig_profile", "mig_of"]
        family = GaugeMetricFamily("carpool_gpu_info", "1 for each device.", labels=labels)
        for known in devices:
            device, mig = known.device, known.device.mig
            family.add_metric(
                [
                    device.uuid,
                    device.product,
                    device.pci_address or "",
                    "" if device.minor is None else str(device.minor),
                    "" if device.numa_node is None else str(device.numa_node),
                    mig.profile if mig else "",
                    mig.parent if mig else "",
                ],
                1.0,
            )
        return family
