"""Handlers that compute with torch, on the device that the configuration names.

Deterministic mode: the result of a convolution depends on the batch's shape and on the number of
threads, so every batch is padded to one shape and the threads are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from carpool.host.backends.base import Items, OutOfMemory, gather
from carpool.host.backends.handler_backend import HandlerBackend, check_rows
from carpool.host.config import HostConfig
from carpool.host.memory import ProcessMemory, trim_heap
from carpool.vision.handler import Handler, LoadContext, Rows

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
class TorchBatch:
    """A batch on the device: `items` of it are real, the rest pads it."""

    batch: torch.Tensor
    items: int


@dataclass(frozen=True, slots=True)
class TorchRun:
    """What `predict` returned, perhaps still being computed."""

    found: Sequence[Any]
    batch_items: int
    items: int


class TorchBackend(HandlerBackend):
    """One model on one torch device; the default batch is small, since CPUs gain nothing by it.

    On a CPU a batch that is computed by all cores waits at each layer for the slowest of them, and
    beside tasks that decode on the same cores there always is a slow one. So handlers that allow it
    compute a batch a core; that also makes results independent of the number of cores.
    """

    default_max_batch = 8

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        self._device = torch.device(config.device)
        self._in_lanes = handler.reentrant and self._device.type == "cpu"
        if self._in_lanes:
            self.default_max_batch = _LANE_BATCH
        super().__init__(handler, config, generation)
        self.lanes = config.lanes if self._in_lanes else 1
        self._threads = 1 if self._in_lanes else config.compute_threads

    def load_model(self, context: LoadContext) -> None:
        """Fix threads and algorithms, then have the handler load its model."""
        torch.set_num_threads(self._threads)
        if self.config.deterministic:
            torch.use_deterministic_algorithms(True)
        with torch.no_grad():
            self.handler.load(context)

    def device_name(self) -> str:
        """The card's name, or the CPU and its threads."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        lanes = f"{self.lanes} lanes of " if self.lanes > 1 else ""
        return f"{self._device.type}, {lanes}{self._threads} threads"

    def weights_bytes(self) -> int:
        """Storage of the tensors and modules that the handler holds, shared storage once."""
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in _tensors(self.handler, set())
        }
        return sum(storages.values())

    def begin_peak(self) -> None:
        """Count the peak of the device's memory from here."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            ProcessMemory.begin_peak()

    def peak_bytes(self) -> int:
        """Most memory since then: of torch's allocator on a GPU, else of this process."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device)
        return ProcessMemory.peak_bytes()

    def free_memory(self) -> None:
        """Have the allocator return the blocks that nothing uses."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            trim_heap()

    def paying_batch(self) -> int:
        """In lanes of a CPU one item, where nothing is gained by two; elsewhere all that fits."""
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

    def stage(self, parts: Sequence[Items], key: Hashable = None) -> TorchBatch:  # noqa: ARG002 - a handler has one kind of items
        """Gather the parts and move them to the device."""
        batch = torch.from_numpy(gather(parts, self.shapes))
        with _memory_errors():
            return TorchBatch(batch.to(self._device), sum(len(part) for part in parts))

    def launch(self, staged: TorchBatch) -> TorchRun:
        """Call `predict`: computes on a CPU, begins to on other devices."""
        with _memory_errors(), torch.inference_mode():
            found = self.handler.predict(staged.batch)
        return TorchRun(found, len(staged.batch), staged.items)

    def collect(self, running: TorchRun) -> list[Rows]:
        """Bring the rows to the host's memory."""
        with _memory_errors():
            found = [_to_host(rows) for rows in running.found]
        return check_rows(found, running.batch_items, self.handler)[: running.items]


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn torch's several kinds of "no memory" into one."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise OutOfMemory(str(error)) from error
        raise


def _to_host(rows: Any) -> Any:
    if isinstance(rows, torch.Tensor):
        return rows.detach().to("cpu", torch.float32).numpy()
    return rows


def _tensors(holder: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Every tensor that can be reached from an object through its attributes and containers."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, torch.Tensor):
        yield holder
    elif isinstance(holder, torch.nn.Module):
        yield from holder.parameters()
        yield from holder.buffers()
    elif isinstance(holder, Mapping):
        for value in holder.values():
            yield from _tensors(value, seen)
    elif isinstance(holder, list | tuple):
        for value in holder:
            yield from _tensors(value, seen)
    elif hasattr(holder, "__dict__") and not isinstance(holder, type | ModuleType):
        yield from _tensors(vars(holder), seen)
