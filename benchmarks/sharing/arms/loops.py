"""Arms (e0), (e1), (e2): one process, no tasks; what the device can do, and what feeding it costs.

(e0) computes frames that are on the device already. (e1) copies each frame into pinned memory and
from there to the device, one batch while another is computed. (e2) decodes and resizes the frames
before that, with a thread for each core, from a rendered clip.

Each is tried with batches of several sizes and, in (e1), with one or more threads; the best is
measured. Where device and model allow it, recorded batches (CUDA graphs) are tried too, so that
this is the roof for arm (d), not a slower loop.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.arms.lane_threads import LaneThreads
from benchmarks.sharing.arms.lanes import Crew, Lanes, Manner
from benchmarks.sharing.engines import Engine
from benchmarks.sharing.figures import Answer, steady
from benchmarks.sharing.frames import POOL
from carpool.host.backends.base import OutOfMemory

Pool = NDArray[np.uint8]
Feed = Callable[[NDArray[np.uint8]], int]
"""Fills a buffer, or its first part at the end; gives the number of frames."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What is tried and measured, and for how long.

    Attributes:
        manners: to be tried.
        seconds: for each.
        measured: seconds for the best.
    """

    manners: Sequence[Manner]
    seconds: float
    measured: float


def loop(
    control: Connection,
    load: Callable[[], Engine],
    pool: Pool,
    kind: str,
    trials: Trials,
    *,
    clip: Path | None = None,
    decoders: int = 1,
) -> None:
    """Main function of the process: tries, measures, tells its report.

    Args:
        control: of the parent.
        load: gives the model.
        pool: frames.
        kind: "e0", "e1" or "e2".
        trials: what is tried and measured.
        clip: what e2 decodes.
        decoders: threads of e2 that decode.
    """
    with load() as engine, LaneThreads() as threads:
        lanes = Lanes(engine, threads)
        run: Callable[[Manner, float], _Run]
        if kind == "e0":
            run = lambda manner, how_long: _resident(lanes.of(manner), pool, manner, how_long)  # noqa: E731
        elif kind == "e1":
            run = lambda manner, how_long: _fed(  # noqa: E731
                lanes.of(manner), manner, how_long, lambda: _copy(pool)
            )
        else:
            assert clip is not None
            run = lambda manner, how_long: _decoded(  # noqa: E731
                lanes.of(manner), pool, manner, how_long, clip=clip, decoders=decoders
            )
        tried, best = [], (0.0, trials.manners[0])
        for manner in trials.manners:
            with suppress(OutOfMemory, NotImplementedError):
                run(manner, 0.0)
                rate = round(run(manner, trials.seconds).rate(), 3)
                tried.append(asdict(manner) | {"items_per_s": rate})
                best = max(best, (rate, manner), key=lambda each: each[0])
        if not tried:
            raise OutOfMemory("not even the smallest batch fits")
        cpu = time.process_time()
        measured = run(best[1], trials.measured)
        cpu = time.process_time() - cpu
        figures = measured.figures()
        items = sum(answer.items for answer in measured.answers)
        figures |= {
            "cpu_s_per_1000": round(1e3 * cpu / items, 4),
            "mean_batch": best[1].batch,
            "manner": asdict(best[1]),
            "tried": tried,
            "loads": 1,
            "weights_bytes": engine.weights_bytes(),
            "device_bytes": engine.device_bytes(),
        }
        # (e2) computes other frames than the pool's, so there is nothing to compare them with.
        pooled = {number: found for number, found in measured.rows.items() if number < POOL}
        control.send(("report", figures | {"rows": {} if kind == "e2" else pooled}))


@dataclass(slots=True)
class _Run:
    begin: float
    end: float
    answers: list[Answer]
    rows: dict[int, Any]

    def figures(self) -> dict[str, Any]:
        return steady(self.answers, self.begin, self.end)

    def rate(self) -> float:
        """Items per second up to the last answer: for trials, too short for a steady window."""
        last = max(answer.done for answer in self.answers)
        return sum(answer.items for answer in self.answers) / (last - self.begin)


def _resident(crew: Crew, pool: Pool, manner: Manner, seconds: float) -> _Run:
    rows: dict[int, Any] = {}

    def work(number: int, end: float) -> list[Answer]:
        lane = crew.lanes[number]
        buffer = lane.buffer(manner.batch)
        buffer[:] = np.resize(pool, buffer.shape)
        staged = lane.stage(buffer)
        answers = []
        while True:  # at least one: the first of a manner only warms up
            begun = time.monotonic()
            found = lane.compute(staged)
            now = time.monotonic()
            answers.append(Answer(now, manner.batch, now - begun))
            if now >= end:
                rows.update(enumerate(found[:POOL]))
                return answers

    return _Run(*crew.run(seconds, work), rows)


def _fed(crew: Crew, manner: Manner, seconds: float, feed: Callable[[], Feed]) -> _Run:
    """Each lane fills and stages a batch, then waits for the one before it.

    The rows are those of the first frames of the first lane, by their place in its feed.
    """
    rows: dict[int, Any] = {}

    def work(number: int, end: float) -> list[Answer]:
        lane, fill = crew.lanes[number], feed()
        buffers = [lane.buffer(manner.batch) for _ in range(2)]
        answers: list[Answer] = []
        staged, begun = None, 0.0
        turn = 0
        while True:
            now = time.monotonic()
            following = None
            if now < end or turn == 0:
                fill(buffers[turn % 2])
                following = lane.stage(buffers[turn % 2])
                turn += 1
            if staged is not None:
                found = lane.compute(staged)
                answered = time.monotonic()
                if number == 0 and len(rows) < POOL:
                    rows.update(enumerate(found, len(rows)))
                answers.append(Answer(answered, manner.batch, answered - begun))
            if following is None:
                return answers
            staged, begun = following, now

    return _Run(*crew.run(seconds, work), rows)


def _copy(pool: Pool) -> Feed:
    """Copies frames of the pool, one after the other."""
    at = 0

    def fill(buffer: NDArray[np.uint8]) -> int:
        nonlocal at
        done = 0
        while done < len(buffer):
            count = min(len(buffer) - done, POOL - at)
            buffer[done : done + count] = pool[at : at + count]
            at = (at + count) % POOL
            done += count
        return done

    return fill


def _decoded(
    crew: Crew,
    pool: Pool,
    manner: Manner,
    seconds: float,
    *,
    clip: Path,
    decoders: int,
) -> _Run:
    """As `_fed`, from frames that threads decode and resize meanwhile."""
    ready: queue.Queue[NDArray[np.uint8]] = queue.Queue(2 * manner.batch)
    free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
    for frame in np.empty((4 * manner.batch + decoders, *pool.shape[1:]), np.uint8):
        free.put(frame)
    ends = threading.Event()

    def decode() -> None:
        for image in _frames(clip):
            frame = free.get()
            cv2.resize(image, frame.shape[1::-1], dst=frame)
            while not ends.is_set():
                with suppress(queue.Full):
                    ready.put(frame, timeout=0.1)
                    break
            if ends.is_set():
                return

    def fill(buffer: NDArray[np.uint8]) -> int:
        for place in buffer:
            frame = ready.get()
            place[:] = frame
            free.put(frame)
        return len(buffer)

    threads = [threading.Thread(target=decode, daemon=True) for _ in range(decoders)]
    for thread in threads:
        thread.start()
    try:
        return _fed(crew, manner, seconds, lambda: fill)
    finally:
        ends.set()
        for _ in range(decoders):
            free.put(np.empty(pool.shape[1:], np.uint8))
        for thread in threads:
            thread.join()


def _frames(clip: Path) -> Iterator[NDArray[np.uint8]]:
    while True:
        video = cv2.VideoCapture(str(clip))
        try:
            while True:
                given, image = video.read()
                if not given:
                    break
                yield np.asarray(image, np.uint8)
        finally:
            video.release()
