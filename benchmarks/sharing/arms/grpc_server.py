"""Arms (c) and (c+): a model server in Python, spoken to by gRPC over a Unix socket.

(c) is how such servers are mostly used: frames come as float32 in the message, and a batch waits a
fixed window for more. (c+) is the best that can be had without changing the transport: frames are
uint8 in shared memory, a batch takes what is there, and two threads with buffers and streams of
their own keep the device busy while one of them gathers or answers.
"""

from __future__ import annotations

import mmap
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.arms.grpc_clients import IN_FLIGHT
from benchmarks.sharing.arms.grpc_messages import (
    FLOAT,
    REGISTER,
    REGISTRATION,
    REQUEST,
    SERVICE,
    SHARED,
    options,
    pack_rows,
    unpack_floats,
)
from benchmarks.sharing.arms.lane_threads import LaneThreads
from benchmarks.sharing.engines import Engine, Lane
from carpool.vision.handler import Rows

WINDOW = 0.005
"""Seconds that (c) waits for more items once it has one."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Frames that wait for a batch, and who waits for their rows."""

    frames: NDArray[Any]
    rows: Future[list[Rows]]


class Batches:
    """Makes batches of what waits.

    Args:
        largest: most items of a batch; a request is never cut, so it is no larger either.
        window: seconds to wait for more; 0 takes what is there.
    """

    def __init__(self, largest: int, window: float) -> None:
        self._largest, self._window = largest, window
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._left: Waiting | None = None
        self._taking = threading.Lock()
        self.count = self.items = 0

    def ask(self, frames: NDArray[Any]) -> list[Rows]:
        """Wait for the rows of frames."""
        waiting = Waiting(frames, Future())
        self._queue.put(waiting)
        return waiting.rows.result()

    def take(self) -> list[Waiting] | None:
        """The next batch; None at the end."""
        with self._taking:
            first = self._left or self._queue.get()
            self._left = None
            if first is None:
                self._queue.put(None)
                return None
            batch, items = [first], len(first.frames)
            deadline = time.monotonic() + self._window
            while items < self._largest:
                left = deadline - time.monotonic()
                try:
                    more = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                if items + len(more.frames) > self._largest:
                    self._left = more
                    break
                batch.append(more)
                items += len(more.frames)
            self.count += 1
            self.items += items
            return batch

    def end(self) -> None:
        """No more batches."""
        self._queue.put(None)


def padded(items: int, largest: int) -> int:
    """The next power of two, so that a device sees few shapes."""
    return min(largest, 1 << (items - 1).bit_length())


def work_shared(batches: Batches, lane: Lane, largest: int) -> None:
    """Compute batches of frames in shared memory, gathered where the device reads them."""
    buffer = lane.buffer(largest)
    while (batch := batches.take()) is not None:
        items = 0
        for waiting in batch:
            buffer[items : items + len(waiting.frames)] = waiting.frames
            items += len(waiting.frames)
        size = padded(items, largest)
        _answer(batch, partial(lane.infer, buffer[:size]))


def work_floats(batches: Batches, lane: Lane) -> None:
    """Compute batches of float32 frames."""
    while (batch := batches.take()) is not None:
        frames = np.concatenate([waiting.frames for waiting in batch])
        _answer(batch, partial(_compute_floats, lane, frames))


def _compute_floats(lane: Lane, frames: NDArray[np.float32]) -> list[Rows]:
    return lane.compute(lane.stage_planar(frames))


def _answer(batch: list[Waiting], compute: Callable[[], list[Rows]]) -> None:
    try:
        rows = compute()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
        for waiting in batch:
            waiting.rows.set_exception(error)
        return
    at = 0
    for waiting in batch:
        waiting.rows.set_result(rows[at : at + len(waiting.frames)])
        at += len(waiting.frames)


class SharedFrames:
    """The shared memory of all clients."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._clients: list[NDArray[np.uint8]] = []

    def register(self, message: bytes) -> bytes:
        """Map a client's memory; its number is the answer."""
        pid, descriptor, slots, items = REGISTRATION.unpack(message)
        opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            memory = mmap.mmap(opened, 0)
        finally:
            os.close(opened)
        frames = np.frombuffer(memory, np.uint8, slots * items * int(np.prod(self._shape)))
        self._clients.append(frames.reshape(slots, items, *self._shape))
        return REQUEST.pack(len(self._clients) - 1, 0, 0)

    def frames(self, message: bytes) -> NDArray[np.uint8]:
        """The frames that a request means."""
        client, slot, items = REQUEST.unpack(message)
        found: NDArray[np.uint8] = self._clients[client][slot, :items]
        return found


def serve(
    control: Connection,
    address: Path,
    load: Callable[[], Engine],
    *,
    shape: tuple[int, int, int],
    largest: int,
    clients: int,
    chunk: int,
    floats: bool,
    workers: int,
) -> None:
    """Main function of the server's process: tells "ready", ends when told to, tells its figures.

    Args:
        control: of the parent.
        address: of the Unix socket.
        load: gives the model.
        shape: of a frame.
        largest: most items of a batch.
        clients: how many will ask.
        chunk: frames that each asks for at once.
        floats: whether this is (c), else (c+).
        workers: threads that compute.
    """
    import grpc  # noqa: PLC0415 - must not be there before a process forks

    with load() as engine, LaneThreads() as threads, ExitStack() as stack:
        batches = Batches(largest, WINDOW if floats else 0.0)
        stack.callback(batches.end)  # or the threads would wait for ever
        shared = SharedFrames(shape)
        lanes = [engine.lane() for _ in range(workers)]
        sizes = sizes_to_come(chunk, clients, largest, floats=floats)
        _warm_up(lanes, threads, shape, sizes, floats=floats)
        engine.begin_peak()
        _warm_up(lanes, threads, shape, sizes, floats=floats)  # for the memory that is kept
        working = []
        for number, lane in enumerate(lanes):
            work = partial(work_floats, batches, lane)
            if not floats:
                work = partial(work_shared, batches, lane, largest)
            working.append(threads.begin(number, work))
        methods = {
            FLOAT: lambda message, _: pack_rows(batches.ask(unpack_floats(message, shape))),
            REGISTER: lambda message, _: shared.register(message),
            SHARED: lambda message, _: pack_rows(batches.ask(shared.frames(message))),
        }
        # Each request waits in a thread of gRPC's until its batch is done: two for each client.
        server = grpc.server(ThreadPoolExecutor(2 * clients + 2), options=options())
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"unix://{address}")
        server.start()
        control.send(("ready", None))
        control.recv()
        batches.end()
        for each in working:
            each.result()
        control.send(("figures", _figures(engine, batches)))
        server.stop(None).wait()


def _figures(engine: Engine, batches: Batches) -> dict[str, Any]:
    return {
        "loads": 1,
        "weights_bytes": engine.weights_bytes(),
        "device_bytes": engine.device_bytes(),
        "mean_batch": round(batches.items / max(1, batches.count), 3),
    }


def sizes_to_come(chunk: int, clients: int, largest: int, *, floats: bool) -> list[int]:
    """The sizes that batches will have, largest first.

    Args:
        chunk: frames of each request.
        clients: how many ask; each has one request outstanding in (c), `IN_FLIGHT` in (c+).
        largest: most items of a batch.
        floats: whether this is (c), which pads nothing.
    """
    most = min(largest, clients * chunk * (1 if floats else IN_FLIGHT))
    counts = range(chunk, most + 1, chunk)
    return sorted({items if floats else padded(items, largest) for items in counts}, reverse=True)


def _warm_up(
    lanes: Sequence[Lane],
    threads: LaneThreads,
    shape: tuple[int, int, int],
    sizes: Sequence[int],
    *,
    floats: bool,
) -> None:
    """Batches of each size in each lane, one after the other: trials would disturb each other."""
    warm = _run_floats if floats else _run_shared
    for number, lane in enumerate(lanes):
        threads.begin(number, partial(warm, lane, shape, sizes)).result()


def _run_floats(lane: Lane, shape: tuple[int, int, int], sizes: Sequence[int]) -> None:
    height, width, channels = shape
    planar = np.full((sizes[0], channels, height, width), 128.0, np.float32)
    for size in sizes:
        lane.compute(lane.stage_planar(planar[:size]))


def _run_shared(lane: Lane, _: tuple[int, int, int], sizes: Sequence[int]) -> None:
    buffer = lane.buffer(sizes[0])
    buffer[:] = 128
    for size in sizes:
        lane.infer(buffer[:size])
