"""Handlers that compute with torch on a CPU."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from carpool.host.backends.base import Items, gather
from carpool.host.backends.device_errors import device_errors
from carpool.host.backends.handler_backend import check_rows
from carpool.host.backends.torch import TorchBackend, to_host
from carpool.host.config import HostConfig
from carpool.host.memory import ProcessMemory, trim_heap
from carpool.vision.handler import Handler, Rows

_LANE_BATCH = 2
"""What one thread computes stays in its core's cache the better the smaller the batch is, and two
items pay for most of a layer's fixed cost (benchmarks/host/results/whole_job.json has a plain loop
at 1 to 8). All threads together need more, so that each has something to do at every layer."""
_PAYS = 0.95
"""A larger batch is worth its memory if an item of it takes at most so much of the time it takes
alone. Two items pay by 10 % with YOLO-Fastest, whose layers are small, by 1 to 3 % with YOLO-v3,
where they would take 115 MiB more in each lane (2 cores, CPU time)."""
_TRIALS = 3


@dataclass(frozen=True, slots=True)
class CpuBatch:
    """A batch: `items` of it are real, the rest pads it."""

    batch: torch.Tensor
    items: int


@dataclass(frozen=True, slots=True)
class CpuRun:
    """What `predict` returned."""

    found: Sequence[Any]
    batch_items: int
    items: int


class TorchCpuBackend(TorchBackend):
    """One model on the cores; the default batch is small, since they gain nothing by it.

    A batch that is computed by all cores waits at each layer for the slowest of them, and beside
    tasks that decode on the same cores there always is a slow one. So handlers that allow it
    compute a batch a core; that also makes results independent of the number of cores.
    """

    default_max_batch = 8

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        self._in_lanes = handler.reentrant
        if self._in_lanes:
            self.default_max_batch = _LANE_BATCH
        super().__init__(handler, config, generation)
        if self._in_lanes:
            self.lanes, self.threads = config.lanes, 1

    def device_name(self) -> str:
        """The CPU and its threads."""
        lanes = f"{self.lanes} lanes of " if self.lanes > 1 else ""
        return f"{self.device.type}, {lanes}{self.threads} threads"

    def begin_peak(self) -> None:
        """Count the peak of this process's memory from here."""
        ProcessMemory.begin_peak()

    def peak_bytes(self) -> int:
        """Most memory of this process since then."""
        return ProcessMemory.peak_bytes()

    def free_memory(self) -> None:
        """Have the allocator return the blocks that nothing uses."""
        trim_heap()

    def paying_batch(self) -> int:
        """In lanes one item, where nothing is gained by two; elsewhere all that fits."""
        config = self.config
        asked = config.max_batch is not None or config.batch_sizes or config.deterministic
        if not self._in_lanes or asked or self.max_batch == 1:
            return self.max_batch
        alone, together = (self._item_cpu_seconds(items) for items in (1, self.max_batch))
        return self.max_batch if together <= _PAYS * alone else 1

    def _item_cpu_seconds(self, items: int) -> float:
        """CPU time of an item in a batch of so many: what else runs now does not show in it."""
        batch = np.zeros((items, *self.handler.input_shape), np.uint8)
        seconds = []
        for _ in range(_TRIALS):
            begun = time.thread_time()
            self.run([batch])
            seconds.append(time.thread_time() - begun)
        return min(seconds) / items

    def stage(self, parts: Sequence[Items], key: Hashable = None) -> CpuBatch:  # noqa: ARG002 - a handler has one kind of items
        """Gather the parts."""
        batch = torch.from_numpy(gather(parts, self.shapes))
        return CpuBatch(batch, sum(len(part) for part in parts))

    def launch(self, staged: CpuBatch) -> CpuRun:
        """Call `predict`."""
        with device_errors(), torch.inference_mode():
            found = self.handler.predict(staged.batch)
        return CpuRun(found, len(staged.batch), staged.items)

    def collect(self, running: CpuRun) -> list[Rows]:
        """Give the rows as arrays."""
        found = to_host(running.found)
        return check_rows(found, running.batch_items, self.handler)[: running.items]
