"""What a host counts, and the JSON in which it answers STATS."""

from __future__ import annotations

import os
import resource
from typing import Any

from carpool.host.launcher import Phases
from carpool.host.work import Request

PHASES = Phases._fields


class Counters:
    """Sums since this child of the supervisor began.

    Attributes:
        clients_served: clients that ever sent HELLO.
        splits: batches that were halved to find a bad item or because memory ran out.
        out_of_memory: batches that did not fit the device's memory.
    """

    def __init__(self) -> None:
        self.clients_served = 0
        self.splits = 0
        self.out_of_memory = 0
        self._requests = 0
        self._items = 0
        self._failed_items = 0
        self._batches = 0
        self._batch_items = 0
        self._batch_sizes: dict[int, int] = {}
        self._queued_seconds = 0.0
        self._busy_seconds = 0.0
        self._phases = (0.0, 0.0, 0.0)
        # Kept open: where clients hold all descriptors, telling the figures must not need another.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def batch(self, items: int, seconds: float, phases: Phases) -> None:
        """Count a batch that gave results."""
        self._batches += 1
        self._batch_items += items
        self._busy_seconds += seconds
        stage, launch, collect = self._phases
        self._phases = (stage + phases.stage, launch + phases.launch, collect + phases.collect)
        # Powers of two keep the histogram small whatever the largest batch is.
        size = 1 << (items - 1).bit_length()
        self._batch_sizes[size] = self._batch_sizes.get(size, 0) + 1

    def request(self, request: Request) -> None:
        """Count an answered request."""
        self._requests += 1
        self._items += request.items
        self._failed_items += len(request.failed)
        if request.started is not None:
            self._queued_seconds += request.started - request.arrived

    def figures(self) -> dict[str, Any]:
        """The sums as JSON: times in milliseconds, `batch_sizes` by "at most so many items"."""
        return {
            "requests": self._requests,
            "items": self._items,
            "failed_items": self._failed_items,
            "batches": self._batches,
            "batch_items": self._batch_items,
            "batch_sizes": {
                str(size): self._batch_sizes[size] for size in sorted(self._batch_sizes)
            },
            "splits": self.splits,
            "out_of_memory": self.out_of_memory,
            "queued_ms": _milliseconds(self._queued_seconds),
            "execute_ms": _milliseconds(self._busy_seconds),
            "phases_ms": {
                name: _milliseconds(seconds)
                for name, seconds in zip(PHASES, self._phases, strict=True)
            },
            "clients_served": self.clients_served,
            **_process_figures(self._statm),
        }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _process_figures(statm: int) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(os.pread(statm, 200, 0).split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "pid": os.getpid(),
        "memory_bytes": resident,
        "cpu_ms": _milliseconds(usage.ru_utime + usage.ru_stime),
    }
