"""What the processes of a cell take while they are measured: CPU time, memory, the device."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from benchmarks.host.cpu_time import cpu_seconds
from benchmarks.host.process_memory import pss_mib
from benchmarks.sharing.device_load import DeviceLoad
from benchmarks.sharing.device_memory import DeviceMemory
from benchmarks.sharing.figures import Answer, steady_window


class Watching:
    """CPU time in the steady window, memory in its middle."""

    def __init__(self, memory: DeviceMemory, load: DeviceLoad) -> None:
        self._memory = memory
        self._load = load
        self.cpu = 0.0
        self.pss = 0.0
        self.device: dict[str, Any] = {}

    def look(self, begin: float, end: float) -> None:
        """Look at all processes that this one started, until the steady window ends."""
        first, last = steady_window(begin, end)
        time.sleep(max(0.0, first - time.monotonic()))
        pids = [process.pid for process in psutil.Process().children(recursive=True)]
        before = _cpu(pids)
        self._load.begin()
        time.sleep(max(0.0, (first + last) / 2 - time.monotonic()))
        self.pss = sum(_pss(pid) for pid in pids)
        self.device = self._memory.look(pids)
        time.sleep(max(0.0, last - time.monotonic()))
        self.device |= self._load.end()
        after = _cpu(pids)
        self.cpu = sum(after[pid] - before[pid] for pid in after if pid in before)

    def figures(self, answers: Sequence[Answer], begin: float, end: float) -> dict[str, Any]:
        """For the record, CPU time by the items that were answered in the window."""
        first, last = steady_window(begin, end)
        items = sum(answer.items for answer in answers if first <= answer.done < last)
        return {
            "cpu_s_per_1000": round(1e3 * self.cpu / items, 4),
            "memory_mib": round(self.pss, 1),
            **self.device,
        }


@contextmanager
def watching(
    begin: float, end: float, memory: DeviceMemory, load: DeviceLoad
) -> Iterator[Watching]:
    """Look while the block runs, in a thread: the block waits for the tasks."""
    seen = Watching(memory, load)
    thread = threading.Thread(target=seen.look, args=(begin, end))
    thread.start()
    try:
        yield seen
    finally:
        thread.join()


def _cpu(pids: Sequence[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        with suppress(OSError):
            found[pid] = cpu_seconds([pid])
    return found


def _pss(pid: int) -> float:
    with suppress(OSError):
        return pss_mib(pid)
    return 0.0
