"""Runs a job as a user does, and looks at its processes now and then: what each kind costs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.host.cpu_time import cpu_seconds
from support.local_runs import Running, start_carpool

KINDS = {
    "host": "carpool.host",
    "workers": "pyspark.daemon",
    "JVM": "org.apache.spark",
}
"""What the command line of a kind's processes holds."""

Cost = Callable[[int], float]
Look = tuple[float, Mapping[str, float], Mapping[str, int]]
"""A moment as `time.time` gives it, the cost of each kind of process, and how many there were."""

PATIENCE = 1800.0
"""Seconds that a job may take; on a busy machine many times what it takes on an idle one."""


@dataclass
class Watch:
    """Sums a cost over the processes of each kind, again and again, while the block lasts.

    Attributes:
        running: the job.
        cost: of one process, by its id; OSError where it has ended.
        interval: seconds between two looks.
        seen: all looks.
    """

    running: Running
    cost: Cost
    interval: float
    seen: list[Look] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(self.interval):
            pids = self._pids()
            costs = {kind: [self._cost(pid) for pid in each] for kind, each in pids.items()}
            self.seen.append(
                (
                    time.time(),
                    {kind: sum(each) for kind, each in costs.items()},
                    {kind: len(each) for kind, each in costs.items()},
                )
            )

    def _pids(self) -> dict[str, list[int]]:
        pids: dict[str, list[int]] = {kind: [] for kind in KINDS}
        # One pass over the machine's processes takes some 15 ms of CPU, so there is only one.
        for process in self.running.processes():
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())
                for kind in (kind for kind, words in KINDS.items() if words in command):
                    pids[kind].append(process.pid)
        return pids | {"driver": [self.running.process.pid]}

    def _cost(self, pid: int) -> float:
        with suppress(OSError):
            return self.cost(pid)
        return 0.0


def run_watched(job: Path, cost: Cost, interval: float) -> tuple[dict[str, Any], list[Look]]:
    """Run a job file to its end; its result as `-o json` gives it, and what was seen meanwhile."""
    with (
        start_carpool("run", str(job), "-o", "json") as running,
        Watch(running, cost, interval) as watch,
    ):
        stdout, stderr = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1]), watch.seen


def cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    return cpu_seconds([pid])


def between(seen: Sequence[Look], begin: float, end: float) -> dict[str, float]:
    """How much each kind's cost rose per second between the first and the last look in a time."""
    within = [(moment, costs) for moment, costs, _ in seen if begin <= moment <= end]
    (first, before), (last, after) = within[0], within[-1]
    return {kind: (after[kind] - before[kind]) / (last - first) for kind in after}
