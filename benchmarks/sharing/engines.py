"""A model in this process, as the arms without Carpool's host run it: a good user's code.

Half precision on a GPU, channels-last, no gradients, frames cross to the device as uint8 from
pinned memory, algorithms chosen by trial (cudnn.benchmark) where shapes repeat. A lane has buffers
and streams of its own, so that several threads of a process may use the one model.

What must stay true: all arms compute with the same `Handler` on the same items; only the way to it
differs.
"""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.time_line import TimeLine
from benchmarks.sharing.workloads import Target, Workload
from carpool.host.backends.base import OutOfMemory
from carpool.vision.handler import LoadContext, Rows, handler_class

Frames = NDArray[np.uint8]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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
        """Have threads that begin from now on compute each with so many threads of a CPU."""

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


def load_engine(
    workload: Workload,
    target: Target,
    *,
    share: int | None,
    batch: int,
    threads: int,
    device_file: Path,
    shapes_repeat: bool = True,
) -> Engine:
    """Load a model.

    Args:
        workload: the model.
        target: the device.
        share: bytes of the device that this process may have; None for no bound.
        batch: the largest batch that it will be given.
        threads: that compute on a CPU.
        device_file: of the simulated device, one for all processes of a run.
        shapes_repeat: whether batches have few sizes, so that trying algorithms out pays.

    Raises:
        OutOfMemory: the share does not hold the model.
    """
    if share is not None and share <= 0:
        raise OutOfMemory("the budget does not even hold the processes' contexts")
    if target.kind == "simulated":
        return _SimulatedEngine(workload, TimeLine(device_file), share, batch)
    return _TorchEngine(workload, target, share, batch, threads, shapes_repeat=shapes_repeat)


class _SimulatedEngine(Engine):
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
        return _SimulatedLane(self._handler, self._device, self._line, self._shape)

    def weights_bytes(self) -> int:
        return self._device.weights_bytes

    def device_bytes(self) -> int:
        return self._size

    def close(self) -> None:
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


class _TorchEngine(Engine):
    def __init__(
        self,
        workload: Workload,
        target: Target,
        share: int | None,
        batch: int,
        threads: int,
        *,
        shapes_repeat: bool,
    ) -> None:
        if target.kind == "cpu":
            _tune()
        import torch  # noqa: PLC0415 - only processes that compute have torch

        self.torch = torch
        self.device = torch.device(target.device)
        self.shape = workload.shape
        self.use_threads(threads)
        if self.cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = shapes_repeat
            if share is not None:
                _, total = torch.cuda.mem_get_info()
                torch.cuda.set_per_process_memory_fraction(min(1.0, share / total))
        self.handler = handler_class(workload.handler)(workload.parameters)
        context = LoadContext(target.device, "Auto", workload.model, batch, workload.files)
        with memory_errors(torch), torch.no_grad():
            before = torch.cuda.memory_allocated() if self.cuda else 0
            self.handler.load(context)
            self._weights = torch.cuda.memory_allocated() - before if self.cuda else 0

    @property
    def cuda(self) -> bool:
        """Whether the device works by itself."""
        return self.device.type == "cuda"

    def lane(self) -> Lane:
        return _TorchLane(self)

    def recorded_lane(self, items: int) -> Lane:
        if not self.cuda:
            return super().recorded_lane(items)
        return _RecordedLane(self, items)

    def use_threads(self, count: int) -> None:
        self.torch.set_num_threads(count)

    def weights_bytes(self) -> int:
        return self._weights

    def device_bytes(self) -> int | None:
        return self.torch.cuda.max_memory_reserved() if self.cuda else None


def _tune() -> None:
    """Tune allocator and threads as Carpool's host tunes its own process, before torch is there.

    A fair opponent has them too: see `carpool.host.process`, which says what they are worth.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    libc = ctypes.CDLL(None)
    # mallopt(3) takes an int; glibc before 2.35 refuses a threshold above 32 MiB.
    if not libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


class _TorchLane(Lane):
    def __init__(self, engine: _TorchEngine) -> None:
        self._engine, self._torch = engine, engine.torch
        if engine.cuda:
            self._copies = self._torch.cuda.Stream()
            self._work = self._torch.cuda.Stream()

    def buffer(self, items: int) -> Frames:
        memory = self._torch.empty(
            (items, *self._engine.shape), dtype=self._torch.uint8, pin_memory=self._engine.cuda
        )
        found: Frames = memory.numpy()
        return found

    def stage(self, frames: Frames) -> Any:
        tensor = self._torch.from_numpy(frames)
        if not self._engine.cuda:
            return tensor
        with memory_errors(self._torch), self._torch.cuda.stream(self._copies):
            moved = tensor.to(self._engine.device, non_blocking=True)
            return moved, self._copies.record_event()

    def stage_planar(self, frames: NDArray[np.float32]) -> Any:
        torch = self._torch
        with memory_errors(torch):
            moved = torch.from_numpy(frames).to(self._engine.device)
            items = moved.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
        if not self._engine.cuda:
            return items
        return items, torch.cuda.current_stream().record_event()

    def compute(self, staged: Any) -> list[Rows]:
        torch, handler = self._torch, self._engine.handler
        with memory_errors(torch), torch.inference_mode():
            if not self._engine.cuda:
                return as_rows(handler.predict(staged))
            items, moved = staged
            with torch.cuda.stream(self._work):
                self._work.wait_event(moved)
                items.record_stream(self._work)
                found = as_rows(handler.predict(items))
            # A handler that gave rows of the device has been waited for by now; so has this.
            self._work.synchronize()
            return found


class _RecordedLane(_TorchLane):
    """Replays one size of batch, as Carpool's host does it."""

    def __init__(self, engine: _TorchEngine, items: int) -> None:
        super().__init__(engine)
        # Imported here, with torch.
        from carpool.host.backends.cuda_graphs import RecordedBatches  # noqa: PLC0415 - see above

        self._records = RecordedBatches(engine.shape, engine.device, self._work)
        self._arriving: tuple[Any, Any] | None = None
        try:
            with memory_errors(self._torch):
                recorded = self._records.record(engine.handler.predict_fixed, [items])
        except RuntimeError as error:
            raise NotImplementedError(f"this model cannot be recorded: {error}") from error
        if not recorded:
            raise NotImplementedError("this model has predict alone")

    def compute(self, staged: Any) -> list[Rows]:
        torch, handler = self._torch, self._engine.handler
        items, moved = staged
        with memory_errors(torch), torch.inference_mode(), torch.cuda.stream(self._work):
            self._work.wait_event(moved)
            items.record_stream(self._work)
            found = self._records.replay(items)
            assert found is not None, "a batch of another size than was recorded"
            if self._arriving is None:
                self._arriving = tuple(
                    torch.empty(each.shape, dtype=each.dtype, pin_memory=True)
                    for each in (found.rows, found.counts)
                )
            rows, counts = self._arriving
            rows.copy_(found.rows, non_blocking=True)
            counts.copy_(found.counts, non_blocking=True)
            self._work.synchronize()
            if int(counts.min()) < 0:  # UNKNOWN
                return as_rows(handler.predict(items))
            return [
                each[:count].numpy().copy()
                for each, count in zip(rows, counts.tolist(), strict=True)
            ]


def as_rows(found: Sequence[Any]) -> list[Rows]:
    """Rows of each item as float32 arrays in main memory."""
    return [
        rows if isinstance(rows, np.ndarray) else rows.detach().to("cpu").float().numpy()
        for rows in found
    ]


class memory_errors:  # noqa: N801 - used as a statement
    """Turn torch's kinds of "no memory" into `OutOfMemory`."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lacks = "out of memory", "can't allocate memory", "ALLOC_FAILED"
        found = isinstance(error, self._torch.OutOfMemoryError | MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in lacks)
        )
        if found:
            raise OutOfMemory(str(error).partition("\n")[0]) from error
