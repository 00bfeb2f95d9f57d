"""A model in this process, as the arms without Carpool's host use it.

A lane has buffers and streams of its own, so that several threads of a process may use the one
model. What must stay true: all arms compute with the same `Handler` on the same items; only the way
to it differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from carpool.vision.handler import Rows

Frames = NDArray[np.uint8]


class Lane(ABC):
    """One thread's way to the model: staging begins a copy, computing waits for the rows."""

    @abstractmethod
    def buffer(self, items: int) -> Frames:
        """Memory for frames from which the device copies fastest, uint8 [items, *shape]."""

    @abstractmethod
    def stage(self, frames: Frames) -> Any:
        """Begin to move frames to the device.

        Args:
            frames: uint8 [n, *shape], of a buffer that stays as it is until they are computed.
        """

    @abstractmethod
    def stage_planar(self, frames: NDArray[np.float32]) -> Any:
        """The same for float32 [n, 3, h, w], values from 0 to 255."""

    @abstractmethod
    def compute(self, staged: Any) -> list[Rows]:
        """Rows of each frame that was staged, in main memory.

        Raises:
            OutOfMemory: the device's memory does not hold the batch.
        """

    def infer(self, frames: Frames) -> list[Rows]:
        """Rows of frames, one after the other."""
        return self.compute(self.stage(frames))


class Engine(ABC):
    """One copy of a model on a device, as long as the block lasts."""

    @abstractmethod
    def lane(self) -> Lane:
        """A further way to the model."""

    @abstractmethod
    def weights_bytes(self) -> int:
        """Memory of the model's values."""

    def recorded_lane(self, items: int) -> Lane:
        """A lane that replays a recorded batch of so many frames (a CUDA graph).

        Raises:
            NotImplementedError: device or model have no such way.
        """
        raise NotImplementedError(f"{type(self).__name__} records no batches ({items} items)")

    def use_threads(self, count: int) -> None:  # noqa: B027 - for those that compute on a CPU
        """Have the calling thread compute with so many threads of a CPU, and those that follow."""

    def begin_peak(self) -> None:  # noqa: B027 - for those that can say it
        """Have `device_bytes` count from here, without what only the first batches took."""

    def device_bytes(self) -> int | None:
        """Most memory of the device that this process held; None where it cannot be said."""
        return None

    def close(self) -> None:  # noqa: B027 - for those that have something to give back
        """Give the device's memory back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
