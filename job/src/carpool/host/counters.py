"""What a host counts, and the JSON in which it answers STATS."""

from __future__ import annotations

import os
import resource
from typing import Any

from carpool.host.work import Request


class Counters:
    """Sums since this child of the supervisor began.

    Attributes:
        clients_served: clients that ever sent HELLO.
        splits: batches that were halved to find a bad item or because memory ran out.
    """

    def __init__(self) -> None:
        self.clients_served = 0
        self.splits = 0
        self._requests = 0
        self._items = 0
        self._failed_items = 0
        self._batches = 0
        self._batch_sizes: dict[int, int] = {}
        self._queued_seconds = 0.0
        self._busy_seconds = 0.0

    def batch(self, items: int, seconds: float) -> None:
        """Count a batch that gave results."""
        self._batches += 1
        self._busy_seconds += seconds
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
            "batch_sizes": {
                str(size): self._batch_sizes[size] for size in sorted(self._batch_sizes)
            },
            "splits": self.splits,
            "queued_ms": round(self._queued_seconds * 1e3, 3),
            "execute_ms": round(self._busy_seconds * 1e3, 3),
            "clients_served": self.clients_served,
            **_process_figures(),
        }


def _process_figures() -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - no file, a kernel table
        resident = int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "pid": os.getpid(),
        "memory_bytes": resident,
        "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1e3, 3),
    }
