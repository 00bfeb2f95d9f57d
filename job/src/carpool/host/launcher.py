"""The one thread that launches work on the device, and the one that waits for it.

Exactly one thread calls `load`, `stage` and `launch`: devices schedule best that way, and handlers
need not be thread-safe. Only a CPU has more (`Backend.lanes`), for handlers that allow it. Where
the device computes by itself (`depth` 2), a second thread waits in `collect`, so that the next
batch can be launched behind the running one. All talk to the event loop through its mailbox only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple

from carpool.host.backends.base import Backend, Items, LoadReport, OutOfMemory
from carpool.host.model_files import ModelPaths
from carpool.host.work import Batch
from carpool.vision.handler import Rows

_LOG = logging.getLogger("carpool.host")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is loaded and warm."""

    report: LoadReport


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model could not be loaded."""

    error: Exception


class Phases(NamedTuple):
    """Seconds of a batch, by what its thread was waiting for.

    On a device that computes by itself, `launch` only begins and `collect` waits for the batch and
    what runs before it; on a CPU, `launch` computes.
    """

    stage: float = 0.0
    launch: float = 0.0
    collect: float = 0.0


class Outcome(NamedTuple):
    """A batch left the device.

    Attributes:
        batch: which.
        rows: one array an item, in the order of the batch; None where it failed.
        error: why it failed.
        seconds: the device's time for it.
        phases: where the time went.
    """

    batch: Batch
    rows: list[Rows] | None
    error: Exception | None
    seconds: float
    phases: Phases = Phases()


@dataclass(frozen=True, slots=True)
class ThreadDied:
    """A thread of the launcher ended by an error that is no batch's fault."""

    error: BaseException


class _Job(NamedTuple):
    batch: Batch
    parts: Sequence[Items]


class _Running(NamedTuple):
    batch: Batch
    handle: Any
    begun: float
    staged: float
    launched: float


class _Jobs:
    """Batches on their way from the event loop to whichever thread of the launcher is free.

    A queue's lock wakes a thread while the caller holds the interpreter's, for which it then sleeps
    again. A write to an eventfd is made without it.
    """

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()
        self._count = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)

    def put(self, job: _Job) -> None:
        self._jobs.append(job)
        os.eventfd_write(self._count, 1)

    def get(self) -> _Job:
        os.eventfd_read(self._count)
        return self._jobs.popleft()


class Launcher:
    """Feeds a backend from a thread of its own."""

    def __init__(self, backend: Backend, post: Callable[[Any], None]) -> None:
        """Take the backend; nothing runs before `start`.

        Args:
            backend: called by the launcher's threads only.
            post: takes Loaded or LoadFailed once, then an Outcome for each batch, or ThreadDied.
        """
        self._backend = backend
        self._post = post
        self._jobs = _Jobs()
        self._running: SimpleQueue[_Running] = SimpleQueue()
        self._device_free_at = 0.0

    def start(self, find_model: Callable[[], ModelPaths]) -> None:
        """Find and load the model, then work.

        The threads are daemons: a host that ends does not wait for its device.
        """
        self._thread("launcher", lambda: self._load_and_launch(find_model))

    def _launch_all(self) -> None:
        while True:
            # Nothing of a job is held while waiting for the next: it keeps a client's arena mapped.
            self._launch(self._jobs.get())

    def submit(self, batch: Batch, parts: Sequence[Items]) -> None:
        """Give the device a batch; at most the batcher's `depth` may be without outcome."""
        self._jobs.put(_Job(batch, parts))

    def _thread(self, name: str, run: Callable[[], None]) -> None:
        def main() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001 - the event loop raises it
                self._post(ThreadDied(error))

        threading.Thread(target=main, name=name, daemon=True).start()

    def _load_and_launch(self, find_model: Callable[[], ModelPaths]) -> None:
        try:
            model = find_model()
            report = self._backend.load(model)
            self._start_collector()
            model.check_unchanged()
        except Exception as error:  # noqa: BLE001 - reported, and judged by its type
            self._post(LoadFailed(error))
            return
        self._post(Loaded(report))
        for lane in range(1, self._backend.lanes):
            self._thread(f"launcher {lane}", self._launch_all)
        self._launch_all()

    def _start_collector(self) -> None:
        """Start the thread that collects, where it is another than this, and wait until it is warm.

        Raises:
            Exception: what it met.
        """
        if self._backend.depth == 1:
            self._backend.warm_collector()
            return
        warm: Future[None] = Future()

        def run() -> None:
            try:
                self._backend.warm_collector()
            except BaseException as error:
                warm.set_exception(error)
                if isinstance(error, Exception):
                    return  # the launcher tells it
                raise
            warm.set_result(None)
            self._collect_all()

        self._thread("collector", run)
        warm.result()

    def _launch(self, job: _Job) -> None:
        begun = time.monotonic()
        found = self._begin(job, begun)
        if isinstance(found, Exception):
            if isinstance(found, OutOfMemory):
                self._backend.free_memory()
            self._post(Outcome(job.batch, None, found, time.monotonic() - begun))
        elif self._backend.depth > 1:
            self._running.put(found)
        else:
            self._collect(found)

    def _begin(self, job: _Job, begun: float) -> _Running | Exception:
        """Stage and launch; what a failed batch held on the device is free when this returns."""
        try:
            on_device = self._backend.stage(job.parts, job.batch.key)
            staged = time.monotonic()
            handle = self._backend.launch(on_device)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return _without_frames(error, job.batch)
        return _Running(job.batch, handle, begun, staged, time.monotonic())

    def _collect_all(self) -> None:
        while True:
            self._collect(self._running.get())

    def _collect(self, running: _Running) -> None:
        waiting = time.monotonic()
        rows: list[Rows] | None
        try:
            rows, failure = self._backend.collect(running.handle), None
        except Exception as error:  # noqa: BLE001 - a device reports a batch's error here
            rows, failure = None, _without_frames(error, running.batch)
        ended = time.monotonic()
        seconds = ended - running.begun
        if self._backend.lanes == 1:
            seconds = ended - max(running.begun, self._device_free_at)
            self._device_free_at = ended
        phases = Phases(
            running.staged - running.begun, running.launched - running.staged, ended - waiting
        )
        self._post(Outcome(running.batch, rows, failure, seconds, phases))


def _without_frames(error: Exception, batch: Batch) -> Exception:
    """The error without its traceback, whose frames keep the failed batch's memory alive."""
    if batch.items == 1:  # larger ones are split until the culprit is found
        _LOG.warning("no result for an item", exc_info=error)
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one = one.__cause__ or one.__context__
    return error
