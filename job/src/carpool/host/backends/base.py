"""What the launcher thread asks of a backend.

A batch goes through three calls, all of one process and two of one thread. `stage` begins to move
items to the device, `launch` begins the computation, and neither waits for the device where it can
work by itself; `collect` waits and gives the rows. A CPU simply computes in `launch`. Where `depth`
is 2, batch k+1 is staged and launched while k is being collected, so copies overlap computation.

What must stay true: `load`, `stage` and `launch` are called by one thread only, `collect` in the
order of the launches; but for CPU backends of several `lanes`, whose threads each take a batch
through all three calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.host.arena import SlotFormat
from carpool.host.config import HostConfig, Idea
from carpool.host.memory import MemoryUse
from carpool.host.model_files import ModelPaths
from carpool.host.shapes import BatchShapes
from carpool.vision.handler import Rows

Items = NDArray[Any]
"""Items of one request's part, [n, *item_shape], in the client's arena."""


class OutOfMemory(Exception):
    """The device's memory does not hold this batch; a smaller one may fit."""


class DeviceLost(Exception):
    """The device is unusable for this process and for any that follows it on the same device."""


DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "cudaError")
"""What frameworks say when a call of the device's failed, mostly with all that follow it."""


class ProcessSpoiled(BaseException):
    """The device refuses this process from now on; a new process may do better.

    Attributes:
        without: what the next process should leave out, since it spoiled this one.
    """

    def __init__(self, message: str, without: Idea | None = None) -> None:
        super().__init__(message)
        self.without = without


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded.

    Attributes:
        device: the device's own name for itself.
        load_seconds: reading and building the model.
        warm_up_seconds: first batches and self-test.
        max_batch: largest batch that was proven to run.
        shapes: the sizes that batches are padded to.
        timings: (items, seconds) of warm batches, for the model of the device's time.
        memory: what model and batches take of the device.
    """

    device: str
    load_seconds: float
    warm_up_seconds: float
    max_batch: int
    shapes: BatchShapes
    timings: tuple[tuple[int, float], ...]
    memory: MemoryUse


class Backend(ABC):
    """Runs one model on one device.

    Attributes:
        default_max_batch: where the configuration names none.
        depth: batches that may be launched and not collected.
        lanes: threads that may stage, launch and collect a batch at the same time, each its own.
        max_batch: most items that `stage` accepts.
        shapes: the sizes that `stage` pads batches to.
    """

    default_max_batch = 16

    def __init__(self, config: HostConfig, generation: int) -> None:
        """Take what is to be run; touches neither device nor files.

        Args:
            config: of the host.
            generation: which child of the supervisor this is, from 1.
        """
        self.config = config
        self.generation = generation
        self.depth = 1
        self.lanes = 1
        self.max_batch = config.max_batch or self.default_max_batch
        self.shapes = BatchShapes()

    @property
    def slot_format(self) -> SlotFormat | None:
        """What every client must have; None where each brings its own."""
        return None

    @abstractmethod
    def load(self, model: ModelPaths) -> LoadReport:
        """Load the model, prove what the host promises.

        Raises:
            ModelError: the model cannot be loaded or does not keep its contract.
        """

    def warm_collector(self) -> None:  # noqa: B027 - for devices that need it
        """Do once what `collect` may have to do, after `load` and in the thread that collects.

        Raises:
            OutOfMemory, DeviceLost, Exception: as `collect`.
        """

    def free_memory(self) -> None:  # noqa: B027 - for devices that need it
        """Give back what the allocator keeps unused; called after running out (launcher thread)."""

    @abstractmethod
    def stage(self, parts: Sequence[Items], key: Hashable = None) -> Any:
        """Begin to move a batch to the device.

        Args:
            parts: at most `max_batch` items together.
            key: what the requests of the batch have in common (`Request.key`).

        Raises:
            OutOfMemory: the device's memory does not hold it.
        """

    @abstractmethod
    def launch(self, staged: Any) -> Any:
        """Begin to compute what `stage` gave.

        Raises:
            OutOfMemory: the device's memory does not hold it.
            DeviceLost: the device is unusable.
            Exception: whatever the handler raises for these items.
        """

    @abstractmethod
    def collect(self, running: Any) -> list[Rows]:
        """Wait for what `launch` gave.

        Returns:
            Per item its rows, float32 [k, row_width] with k ≤ output_rows.

        Raises:
            HandlerError: the handler returned something else.
            OutOfMemory, DeviceLost, Exception: as `launch`.
        """

    def attach(self, memory: NDArray[np.uint8]) -> None:  # noqa: B027 - for devices that need it
        """Items in this memory, a client's arena, may be staged from now on.

        This is where a device pins it. Called by one thread, which computes nothing.
        """

    def detach(self, memory: NDArray[np.uint8]) -> None:  # noqa: B027 - for devices that need it
        """Nothing in this memory will be staged again; called by the thread of `attach`."""


def gather(parts: Sequence[Items], shapes: BatchShapes) -> Items:
    """Put the parts of a batch into one array.

    Args:
        parts: at least one.
        shapes: the sizes that the result is padded to; items past the parts' are zero.

    Returns:
        [n, *item_shape]; the part itself, not a copy, where one part is all.
    """
    count = sum(len(part) for part in parts)
    size = shapes.padded(count)
    if len(parts) == 1 and size == count:
        return parts[0]
    batch = np.empty((size, *parts[0].shape[1:]), parts[0].dtype)
    np.concatenate(parts, out=batch[:count])
    batch[count:] = 0
    return batch
