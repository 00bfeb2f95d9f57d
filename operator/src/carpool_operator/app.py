"""Puts the operator together, and is the only place that does.

The order at the start is part of being safe: become the leader, wait until nothing of an earlier
one can be under way, list everything, and only then decide. At the end: decide no more, let writes
under way end, give the Lease up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import Final

import kopf

from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection, Guard
from carpool_operator.cluster.events import EventPoster
from carpool_operator.cluster.lease import Election, Leadership
from carpool_operator.cluster.progress import ProgressClient
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.cluster.resources import JOBS, PODS
from carpool_operator.cluster.watch import follow
from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.errors import LeadershipLost, NotFound, SettingsError
from carpool_operator.handlers.registry import build_registry, kopf_settings
from carpool_operator.observability.health import WatchHealth
from carpool_operator.observability.loop_lag import measure_lag
from carpool_operator.observability.metrics import REGISTRY
from carpool_operator.observability.server import serve_metrics, serve_probes
from carpool_operator.reconcile.allocation_metrics import AllocationMetrics
from carpool_operator.reconcile.assignments import Assignments
from carpool_operator.reconcile.controller import Controller
from carpool_operator.reconcile.gpu_node_status import GpuNodeStatus
from carpool_operator.reconcile.job_writes import JobWrites
from carpool_operator.reconcile.namespaces import Namespaces
from carpool_operator.reconcile.observations import (
    GPU_NODES_WATCH,
    JOBS_WATCH,
    NAMESPACES_WATCH,
    NODES_WATCH,
    PODS_WATCH,
    Observations,
)
from carpool_operator.reconcile.progress import ProgressPoller
from carpool_operator.reconcile.queue import WorkQueue
from carpool_operator.reconcile.waiting import WakeWaiting
from carpool_operator.settings import Settings

log = logging.getLogger(__name__)

_WORK_STALLED: Final = 300.0
"""Seconds on one job after which the process is taken for hung: every request has a timeout."""
_LAST_MOMENT: Final = 8.0
"""Seconds after SIGTERM at which the process ends whatever still goes on."""
_DRAIN: Final = 4.0
"""Seconds of it for what is under way."""
_GATHER_EXECUTORS: Final = 0.2
"""Seconds in which changes of a job's executors are gathered into one look at the job."""
LOST_LEADERSHIP: Final = 3
"""Exit status of a leader that may not write any more."""

ClientFactory = Callable[[Connection, RateLimit, Guard | None], Client]


def plain_client(connection: Connection, limit: RateLimit, guard: Guard | None) -> Client:
    """The client of production; tests put others in its place."""
    return Client(connection, limit, guard=guard)


async def run(settings: Settings, make_client: ClientFactory = plain_client) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Ends the process at once when leadership is lost.

    Raises:
        SettingsError: the API server cannot be reached as configured, or lacks our resources.
        ExceptionGroup: a part failed for good; a restart may help.
    """
    stop = asyncio.Event()
    _on_signals(stop)
    identity = f"{settings.pod_name}_{uuid.uuid4().hex[:8]}"
    connection = await Connection.load(
        f"carpool-operator/{version('carpool-operator')} ({identity})"
    )
    operator = _Operator(settings, identity, connection, make_client, stop)
    await operator.run()


class _Operator:
    """The parts, and their order."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        connection: Connection,
        make_client: ClientFactory,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._stop = stop
        self._namespaces = Namespaces(settings.namespaces, settings.selected_labels)
        watched = [JOBS_WATCH, PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH]
        if self._namespaces.by_labels:
            watched.append(NAMESPACES_WATCH)
        self._health = WatchHealth(watched)
        self._leadership = Leadership()
        limit = RateLimit(settings.api_qps, settings.api_burst)
        self._writer = make_client(connection, limit, self._leadership.check)
        self._reader = make_client(connection, RateLimit(20, 20), None)
        # A limit of its own: a renewal must wait neither behind a thousand jobs nor for a list that
        # the API server has put off.
        self._elector = make_client(connection, RateLimit(5, 5), None)
        self._election = Election(
            self._elector,
            self._leadership,
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=identity,
            duration=settings.lease_duration_seconds,
        )
        self._queue = WorkQueue(self._reconcile)
        allocator = ClusterAllocator()
        REGISTRY.register(AllocationMetrics(lambda: allocator.census(time.time())))
        self._observations = Observations(
            allocator,
            self._namespaces,
            self._health,
            job_changed=self._queue.add,
            executors_changed=lambda uid: self._queue.add_after(uid, _GATHER_EXECUTORS),
            room_changed=self._room_changed,
        )
        self._poller = ProgressPoller(
            ProgressClient(),
            port=settings.progress_port,
            interval=settings.progress_interval_seconds,
            answered=self._queue.add,
        )
        self._events = EventPoster(self._writer, identity)
        self._controller = Controller(
            JobWrites(self._writer, self._observations, self._events, time.time),
            self._observations,
            allocator,
            settings=settings.job_settings(),
            poller=self._poller,
            look_again=self._queue.add_after,
            demand_changed=self._room_changed,
        )
        self._assignments = Assignments(
            self._writer,
            self._observations,
            allocator,
            epoch=lambda: self._leadership.epoch,
            in_flight=settings.assignments_in_flight,
        )
        self._gpu_nodes = GpuNodeStatus(self._writer, self._observations, allocator.node_totals)
        self._waiting = WakeWaiting(
            lambda: self._observations.in_order_of_creation(self._controller.waiting),
            self._queue.add,
        )

    async def _reconcile(self, uid: str) -> None:
        await self._controller.reconcile(uid)

    def _room_changed(self) -> None:
        self._assignments.wake()
        self._waiting.wake()
        self._gpu_nodes.wake()

    async def run(self) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._elector)
            await stack.enter_async_context(self._reader)
            await stack.enter_async_context(self._writer)
            stack.push_async_callback(self._poller.close)
            await stack.enter_async_context(
                serve_probes(settings.probe_port, self._unready, self._dead)
            )
            await stack.enter_async_context(serve_metrics(settings.metrics_port))
            await self._check_resources()
            lag = asyncio.create_task(measure_lag())
            stack.callback(lag.cancel)
            if await self._until_stopped(self._lead()):
                await self._election.release()

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do the work until the end is asked for; its failure is ours.

        Returns:
            Whether nothing that was sent may still arrive.
        """
        drained = True
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            log.info("Stopping")
            drained = await self._drain()
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return drained

    async def _drain(self) -> bool:
        """Let what is under way end; whether all has.

        What has not is cut off, as by a kill. It may still arrive, so the Lease is kept: whoever
        takes over waits until it cannot any more, as after a kill.
        """
        try:
            async with asyncio.timeout(_DRAIN):
                await self._assignments.drain()
                await self._queue.drain()
        except TimeoutError:
            log.warning("Requests were cut off; the Lease ends by itself")
            return False
        return True

    async def _lead(self) -> None:
        try:
            await self._election.acquire()
            await self._work()
        except* LeadershipLost as lost:
            _end_at_once(lost)

    async def _work(self) -> None:
        self._health.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._election.keep())
            group.create_task(self._follow_pods())
            group.create_task(self._run_kopf())
            await self._health.wait_synced()
            log.info("Listed everything", extra={"jobs": len(self._observations.jobs)})
            self._controller.tell_all()
            group.create_task(self._queue.run(self._settings.workers))
            group.create_task(self._assignments.run())
            group.create_task(self._waiting.run())
            group.create_task(self._gpu_nodes.run())
            group.create_task(self._events.run())

    async def _follow_pods(self) -> None:
        await follow(self._reader, PODS, self._observations)

    async def _run_kopf(self) -> None:
        """Let kopf watch; its end is the operator's."""
        registry = build_registry(
            self._connection, self._observations, watch_namespaces=self._namespaces.by_labels
        )
        ready = asyncio.Event()
        takes_signals = asyncio.create_task(self._take_signals_back(ready))
        try:
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                clusterwide=True,
                standalone=True,
                ready_flag=ready,
            )
        finally:
            takes_signals.cancel()
        self._stop.set()

    async def _take_signals_back(self, ready: asyncio.Event) -> None:
        """Kopf sets handlers of its own, which would cancel all tasks of the process."""
        await ready.wait()
        _on_signals(self._stop)

    async def _check_resources(self) -> None:
        try:
            await self._reader.get(JOBS.path().rsplit("/", 1)[0])
        except NotFound as error:
            raise SettingsError(
                "the cluster does not know InferenceJobs: apply the CustomResourceDefinitions "
                "(crds/, or the chart's), then start the operator again"
            ) from error

    def _unready(self) -> list[str]:
        """A replica that stands by watches nothing, and is ready to do so."""
        return self._health.unready()

    def _dead(self) -> list[str]:
        complaints = self._health.dead()
        longest = self._queue.longest_running()
        if longest > _WORK_STALLED:
            complaints.append(f"a worker has been at one job for {longest:.0f} s")
        return complaints


def _on_signals(stop: asyncio.Event) -> None:
    def ask_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            timer = threading.Timer(_LAST_MOMENT, os._exit, args=(1,))
            timer.daemon = True
            timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop)


def _end_at_once(lost: BaseExceptionGroup[LeadershipLost]) -> None:
    """No cleaning up: another may be at work, and whatever is sent now is sent too late."""
    first: BaseException = lost
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    log.error("Lost leadership", extra={"error": str(first)})
    logging.shutdown()
    os._exit(LOST_LEADERSHIP)
