"""A model on the simulated device, for processes that take turns on it (see `time_line`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.engines import Engine, Frames, Lane
from benchmarks.sharing.time_line import TimeLine
from benchmarks.sharing.workloads import Workload
from carpool.host.backends.base import OutOfMemory
from carpool.vision.handler import LoadContext, Rows, handler_class


class SimulatedEngine(Engine):
    """A model that takes time on the time line, and memory of this process's share."""

    def __init__(self, workload: Workload, line: TimeLine, share: int | None, batch: int) -> None:
        device = workload.simulated
        self._line, self._device = line, device
        size = device.weights_bytes + batch * device.item_bytes
        if share is not None and size > share:
            raise OutOfMemory(f"{size >> 20} MiB, this process's share is {share >> 20}")
        self._size = size
        self._handler = handler_class(workload.handler)(workload.parameters)
        self._handler.load(LoadContext("cpu", "Auto", None, batch))
        self._shape = workload.shape

    def lane(self) -> Lane:
        """As `Engine.lane`."""
        return _SimulatedLane(self._handler, self._device, self._line, self._shape)

    def weights_bytes(self) -> int:
        """As `Engine.weights_bytes`."""
        return self._device.weights_bytes

    def device_bytes(self) -> int:
        """As `Engine.device_bytes`."""
        return self._size

    def close(self) -> None:
        """As `Engine.close`."""
        self._line.close()


class _SimulatedLane(Lane):
    def __init__(self, handler: Any, device: Any, line: TimeLine, shape: tuple[int, ...]) -> None:
        self._handler, self._device, self._line, self._shape = handler, device, line, shape

    def buffer(self, items: int) -> Frames:
        return np.empty((items, *self._shape), np.uint8)

    def stage(self, frames: Frames) -> Frames:
        return frames

    def stage_planar(self, frames: NDArray[np.float32]) -> Frames:
        return frames.transpose(0, 2, 3, 1).astype(np.uint8)

    def compute(self, staged: Frames) -> list[Rows]:
        rows = list(self._handler.predict(staged))
        self._line.run((self._device.base_ms + self._device.item_ms * len(staged)) / 1e3)
        return rows
