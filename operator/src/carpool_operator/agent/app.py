"""Puts the agent together: looks, hears, reports, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from carpool_operator.agent.devices import Look, XidEvent
from carpool_operator.agent.health import is_critical
from carpool_operator.agent.inventory import Inventory, Known, adopted
from carpool_operator.agent.metrics import (
    DRIVER_USABLE,
    HEARS_XIDS,
    LOOK_SECONDS,
    REGISTRY,
    UNIDENTIFIED,
    XIDS,
    DeviceCollector,
)
from carpool_operator.agent.observer import Observer
from carpool_operator.agent.pods import pods_of
from carpool_operator.agent.publisher import FIELD_MANAGER, Publisher
from carpool_operator.agent.report import report_of
from carpool_operator.agent.settings import AgentSettings
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.errors import SettingsError
from carpool_operator.observability.server import serve_metrics, serve_probes

log = logging.getLogger(__name__)

_BOOT_ID: Final = "sys/kernel/random/boot_id"
_LEAST_BETWEEN_LOOKS: Final = 0.5
"""Seconds: errors may come by the hundred, and each asks for a look."""
_UNHEARD: Final = 90.0
"""Seconds without an accepted report after which the allocator no longer relies on the last one."""
_STALLED: Final = 120.0
"""Seconds without a look after which the process is taken for hung: every call has a timeout."""
_OTHER_VERSION: Final = 300.0
"""Seconds with a library of another version than the kernel module after which the container is
given up: the runtime mounts the libraries anew when it is made anew."""


def read_boot_id(proc_folder: Path) -> str:
    """The id of the node's boot.

    Raises:
        SettingsError: it cannot be read.
    """
    path = proc_folder / _BOOT_ID
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; the agent runs on Linux") from error


async def run(settings: AgentSettings) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Raises:
        SettingsError: the API server cannot be reached as configured.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    boot_id = read_boot_id(settings.proc_folder)
    connection = await Connection.load(
        f"carpool-agent/{version('carpool-operator')} ({settings.node_name})"
    )
    async with Client(connection, RateLimit(5, 10), manager=FIELD_MANAGER) as client:
        agent = _Agent(settings, boot_id, client)
        async with AsyncExitStack() as stack:
            probes = serve_probes(settings.probe_port, agent.unready, agent.dead)
            metrics = serve_metrics(settings.metrics_port, REGISTRY)
            port = await stack.enter_async_context(probes)
            metrics_port = await stack.enter_async_context(metrics)
            log.info("Started", extra={"probe_port": port, "metrics_port": metrics_port})
            work = asyncio.create_task(agent.run())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not work.done():
                log.info("Stopping")
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work


class _Agent:
    """The parts, and what passes between them."""

    def __init__(self, settings: AgentSettings, boot_id: str, client: Client) -> None:
        self._settings = settings
        self._boot_id = boot_id
        self._inventory = Inventory(settings.health_policy)
        self._look_wanted = asyncio.Event()
        self._looked_at = time.monotonic()
        self._observer = Observer(
            self._heard,
            timeout=settings.gpu_timeout_seconds,
            reopen=settings.reopen_seconds,
            sys_folder=settings.sys_folder,
        )
        self._publisher = Publisher(
            client, settings.node_name, settings.cadence, self._gpu_node_removed
        )

    async def run(self) -> None:
        """Look and report until cancelled."""
        status = await self._publisher.read()
        known = adopted(status, self._boot_id, time.monotonic())
        self._inventory = Inventory(self._settings.health_policy, known)
        collector = DeviceCollector(self._inventory)
        REGISTRY.register(collector)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_again_and_again())
                group.create_task(self._publisher.run())
        finally:
            REGISTRY.unregister(collector)
            await self._observer.close()

    def unready(self) -> list[str]:
        """Why what stands in the GPUNode may not be what is."""
        silence = self._publisher.silence
        if not self._publisher.has_written:
            return ["no report was accepted yet"]
        return [f"no report was accepted for {silence:.0f} s"] if silence > _UNHEARD else []

    def dead(self) -> list[str]:
        """Why only a new process, or a new container, helps."""
        complaints = []
        now = time.monotonic()
        if now - self._looked_at > _STALLED:
            complaints.append(f"no look at the GPUs for {now - self._looked_at:.0f} s")
        since = self._observer.other_version_since
        if since is not None and now - since > _OTHER_VERSION:
            complaints.append("NVIDIA's library is of another version than its kernel module")
        return complaints

    async def _look_again_and_again(self) -> None:
        while True:
            begun = time.monotonic()
            look = await self._observer.look()
            self._looked_at = time.monotonic()
            LOOK_SECONDS.observe(self._looked_at - begun)
            self._seen(look)
            await asyncio.sleep(_LEAST_BETWEEN_LOOKS)
            rest = begun + self._settings.poll_seconds - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, rest)):
                    await self._look_wanted.wait()
            self._look_wanted.clear()

    def _seen(self, look: Look) -> None:
        before = self._health()
        self._inventory.take(look, time.monotonic())
        DRIVER_USABLE.set(look.driver_version is not None)
        UNIDENTIFIED.set(len(look.silent))
        HEARS_XIDS.set(self._observer.hears_errors)
        self._report(before)

    def _heard(self, event: XidEvent) -> None:
        XIDS.labels(event.uuid or "", str(event.code)).inc()
        before = self._health()
        concerned = self._inventory.hear(event, time.monotonic())
        critical = is_critical(event.code, self._settings.health_policy)
        log.log(
            logging.WARNING if critical else logging.INFO,
            "The driver reported an error of a GPU",
            extra={"gpu": event.uuid, "xid": event.code, "devices": len(concerned)},
        )
        if critical:
            # What the error has done to the GPU, or which one it is about, is seen by looking.
            self._look_wanted.set()
        self._report(before)

    def _gpu_node_removed(self) -> None:
        self._inventory.forget_lost()
        self._report(self._health())

    def _health(self) -> dict[str, Known]:
        return {known.device.uuid: known for known in self._inventory.devices}

    def _report(self, before: dict[str, Known]) -> None:
        devices = self._inventory.devices
        for known in devices:
            uuid, health = known.device.uuid, known.health
            if uuid not in before:
                log.info("Found a device", extra={"gpu": uuid, "product": known.device.product})
            elif before[uuid].health.health != health.health:
                log.warning(
                    "The health of a device has changed",
                    extra={"gpu": uuid, "health": health.health, "reason": health.message},
                )
        pod_of: dict[int, str] = {}
        if self._settings.map_processes:
            pids = {pid for known in devices for pid in known.pids}
            pod_of = pods_of(pids, self._settings.proc_folder)
        report = report_of(
            self._inventory, self._boot_id, pod_of if self._settings.map_processes else None
        )
        self._publisher.offer(report)
