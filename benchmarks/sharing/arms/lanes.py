"""How a loop is run, and who runs it: lanes to one model, each with its thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.sharing.arms.lane_threads import LaneThreads
from benchmarks.sharing.engines import Engine, Lane
from benchmarks.sharing.figures import Answer


@dataclass(frozen=True, slots=True)
class Manner:
    """How a loop is run.

    Attributes:
        batch: items.
        lanes: threads, each with two buffers and streams of its own.
        recorded: whether batches are replayed from a record (CUDA graph).
    """

    batch: int
    lanes: int = 1
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Crew:
    """The lanes of a manner, and their threads.

    Attributes:
        lanes: the first has thread 0.
        prepare: what a thread does before it works.
    """

    lanes: Sequence[Lane]
    threads: LaneThreads
    prepare: Callable[[], None]

    def run(
        self, seconds: float, work: Callable[[int, float], list[Answer]]
    ) -> tuple[float, float, list[Answer]]:
        """Run `work(lane, end)` in each lane's thread; errors are raised here.

        Returns:
            When it began, when it was to end, and all answers.
        """
        begin = time.monotonic()
        end = begin + seconds

        def prepared(number: int) -> list[Answer]:
            self.prepare()
            return work(number, end)

        found = self.threads.all([partial(prepared, number) for number in range(len(self.lanes))])
        return begin, end, [answer for each in found for answer in each]


class Lanes:
    """Lanes by manner, each made once: recording a batch takes long."""

    def __init__(self, engine: Engine, threads: LaneThreads) -> None:
        self._engine, self._threads = engine, threads
        self._plain: list[Lane] = []
        self._recorded: dict[int, list[Lane]] = {}
        self._cores = len(os.sched_getaffinity(0))

    def of(self, manner: Manner) -> Crew:
        """Who runs a loop in this manner.

        Raises:
            NotImplementedError: nothing can be recorded, as the manner asks.
        """
        found = self._recorded.setdefault(manner.batch, []) if manner.recorded else self._plain
        while len(found) < manner.lanes:
            found.append(self._make(manner))
        cores = max(1, self._cores // manner.lanes)
        return Crew(found[: manner.lanes], self._threads, partial(self._engine.use_threads, cores))

    def _make(self, manner: Manner) -> Lane:
        return self._engine.recorded_lane(manner.batch) if manner.recorded else self._engine.lane()
