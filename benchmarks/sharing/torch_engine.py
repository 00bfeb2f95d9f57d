"""A model on a CPU or GPU with PyTorch: what a good user of it writes, and no less.

Half precision on a GPU, channels-last, no gradients, frames cross to the device as uint8 from
pinned memory, algorithms chosen by trial (cudnn.benchmark) where shapes repeat. On a CPU allocator
and threads are tuned as Carpool's host tunes its own.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.engines import Engine, Frames, Lane
from benchmarks.sharing.workloads import Target, Workload
from carpool.vision.handler import LoadContext, Rows, handler_class

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class TorchEngine(Engine):
    """One copy of a model, in this process's share of the device."""

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
        # Only processes that compute have torch.
        import torch  # noqa: PLC0415 - see above

        from carpool.host.backends.device_errors import device_errors  # noqa: PLC0415 - imports it
        from carpool.host.backends.torch import to_host  # noqa: PLC0415 - the same

        self.torch = torch
        self.errors, self.to_host = device_errors, to_host
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
        with self.errors(), torch.no_grad():
            before = torch.cuda.memory_allocated() if self.cuda else 0
            self.handler.load(context)
            self._weights = torch.cuda.memory_allocated() - before if self.cuda else 0
            if self.cuda:
                # What it did to its weights, it did on none of the lanes' streams.
                torch.cuda.synchronize()

    @property
    def cuda(self) -> bool:
        """Whether the device works by itself."""
        return self.device.type == "cuda"

    def lane(self) -> Lane:
        """As `Engine.lane`."""
        return _TorchLane(self)

    def recorded_lane(self, items: int) -> Lane:
        """As `Engine.recorded_lane`."""
        if not self.cuda:
            return super().recorded_lane(items)
        return _RecordedLane(self, items)

    def use_threads(self, count: int) -> None:
        """As `Engine.use_threads`."""
        self.torch.set_num_threads(count)

    def weights_bytes(self) -> int:
        """As `Engine.weights_bytes`."""
        return self._weights

    def begin_peak(self) -> None:
        """As `Engine.begin_peak`: cuDNN tries algorithms that take more than the one it keeps."""
        if self.cuda:
            self.torch.cuda.empty_cache()
            self.torch.cuda.reset_peak_memory_stats()

    def device_bytes(self) -> int | None:
        """As `Engine.device_bytes`."""
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
    def __init__(self, engine: TorchEngine) -> None:
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
        with self._engine.errors(), self._torch.cuda.stream(self._copies):
            moved = tensor.to(self._engine.device, non_blocking=True)
            return moved, self._copies.record_event()

    def stage_planar(self, frames: NDArray[np.float32]) -> Any:
        torch = self._torch
        with self._engine.errors():
            moved = torch.from_numpy(frames).to(self._engine.device)
            items = moved.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
        if not self._engine.cuda:
            return items
        return items, torch.cuda.current_stream().record_event()

    def compute(self, staged: Any) -> list[Rows]:
        torch, handler = self._torch, self._engine.handler
        with self._engine.errors(), torch.inference_mode():
            if not self._engine.cuda:
                return self._engine.to_host(handler.predict(staged))
            items, moved = staged
            with torch.cuda.stream(self._work):
                self._work.wait_event(moved)
                items.record_stream(self._work)
                found = self._engine.to_host(handler.predict(items))
            # A handler that gave rows of the device has been waited for by now; so has this.
            self._work.synchronize()
            return found


class _RecordedLane(_TorchLane):
    """Replays one size of batch, as Carpool's host does it."""

    def __init__(self, engine: TorchEngine, items: int) -> None:
        super().__init__(engine)
        # Imported here, with torch.
        from carpool.host.backends.cuda_graphs import RecordedBatches  # noqa: PLC0415 - see above

        self._records = RecordedBatches(engine.shape, engine.device, self._work)
        self._arriving: tuple[Any, Any] | None = None
        try:
            with engine.errors():
                recorded = self._records.record(engine.handler.predict_fixed, [items])
        except RuntimeError as error:
            raise NotImplementedError(f"this model cannot be recorded: {error}") from error
        if not recorded:
            raise NotImplementedError("this model has predict alone")

    def compute(self, staged: Any) -> list[Rows]:
        torch, handler = self._torch, self._engine.handler
        items, moved = staged
        with self._engine.errors(), torch.inference_mode(), torch.cuda.stream(self._work):
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
                return self._engine.to_host(handler.predict(items))
            return [
                each[:count].numpy().copy()
                for each, count in zip(rows, counts.tolist(), strict=True)
            ]
