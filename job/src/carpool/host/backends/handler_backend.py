"""Backends of vision handlers: what they share from loading the model to the largest batch.

The first batches are grey images. They prove the handler's contract, measure time and memory, and
so decide what clients are promised, before any client is told READY.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from carpool.errors import HandlerError, ModelError
from carpool.host.arena import SlotFormat
from carpool.host.backends.base import Backend, DeviceLost, Items, LoadReport, OutOfMemory
from carpool.host.config import HostConfig
from carpool.host.memory import MemoryUse, per_item_bytes
from carpool.host.model_files import ModelPaths
from carpool.host.shapes import BatchShapes
from carpool.vision.handler import FixedRows, Handler, LoadContext, Rows

_GREY = 128
_PROBE_MORE = 3


class HandlerBackend(Backend):
    """Runs one handler on one device.

    Attributes:
        handler: the user's model code.
    """

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`.

        Args:
            handler: not loaded yet.
            config: of the host.
            generation: which child of the supervisor this is, from 1.
        """
        super().__init__(config, generation)
        self.handler = handler
        self.shapes = self._choose_shapes()

    @property
    def slot_format(self) -> SlotFormat:
        """As the handler says."""
        handler = self.handler
        return SlotFormat(handler.input_shape, handler.output_rows, handler.row_width)

    def load(self, model: ModelPaths) -> LoadReport:
        """Load the model, run first batches, prove what the host promises.

        Raises:
            ModelError: the model cannot be loaded or does not keep the handler contract.
        """
        begun = time.monotonic()
        context = LoadContext(
            device=self.config.device,
            precision=self.config.precision,
            model_path=model.path,
            max_batch=self.max_batch,
            files=model.files,
        )
        self.load_model(context)
        loaded = time.monotonic()
        timings, memory = self._warm_up()
        return LoadReport(
            device=self.device_name(),
            load_seconds=loaded - begun,
            warm_up_seconds=time.monotonic() - loaded,
            max_batch=self.max_batch,
            shapes=self.shapes,
            timings=timings,
            memory=memory,
        )

    @abstractmethod
    def load_model(self, context: LoadContext) -> None:
        """Prepare the device and have the handler load its model onto it."""

    @abstractmethod
    def device_name(self) -> str:
        """The device's own name for itself."""

    @abstractmethod
    def weights_bytes(self) -> int:
        """Memory of the loaded weights."""

    @abstractmethod
    def begin_peak(self) -> None:
        """Count the peak of the device's memory from here (launcher thread)."""

    @abstractmethod
    def peak_bytes(self) -> int:
        """Most memory that was in use on the device since `begin_peak`, model included."""

    def memory_budget(self) -> int | None:
        """The host's share of the device's memory; None for no bound (after `load_model`)."""
        return self.config.memory_bytes

    def record_shapes(self) -> bool:
        """Prepare for batches of the sizes that were settled on; whether they are faster now."""
        return False

    def paying_batch(self) -> int:
        """The largest batch that is worth its memory, at most `max_batch` (launcher thread)."""
        return self.max_batch

    def run(self, parts: Sequence[Items]) -> list[Rows]:
        """One batch from items to rows."""
        return self.collect(self.launch(self.stage(parts)))

    def _choose_shapes(self) -> BatchShapes:
        if self.config.deterministic:
            return BatchShapes([self.max_batch])
        return BatchShapes(self.config.batch_sizes).within(self.max_batch)

    def _warm_up(self) -> tuple[tuple[tuple[int, float], ...], MemoryUse]:
        """First batches of every shape, measured, with the results checked.

        Raises:
            ModelError: not even one item fits the device's memory, or the handler raises.
        """
        try:
            return self._first_batches()
        except OutOfMemory as error:
            raise ModelError(f"one item does not fit the device's memory: {error}") from error
        except (DeviceLost, ModelError):
            raise
        except Exception as error:
            raise HandlerError(
                f"handler {self.config.handler} fails on a plain grey image: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _first_batches(self) -> tuple[tuple[tuple[int, float], ...], MemoryUse]:
        self.begin_peak()
        idle = self.peak_bytes()
        self._timed(1)
        first = self.shapes.padded(1)
        small, one = self._timed(1)
        use = MemoryUse(weights=self.weights_bytes(), idle=idle, one=one, budget=self._budget(idle))
        self._bound(use)
        if self.max_batch > first:
            # A few items tell what each adds, before a batch is tried that may be far too large.
            probe = self.shapes.padded(min(self.max_batch, first + _PROBE_MORE))
            _, many = self._timed(probe)
            use = replace(use, per_item=per_item_bytes(one, many, probe - first))
            self._bound(use)
        timings = {first: small}
        if self.max_batch > first:
            timings[self.max_batch], many = self._largest_batch()
            if self.max_batch > first:
                use = replace(use, per_item=per_item_bytes(one, many, self.max_batch - first))
                self._bound(use)
        if (most := self.paying_batch()) < self.max_batch:
            self._shrink(self.shapes.floor(most))
            self.free_memory()
        if self.record_shapes():
            timings = {}
        for size in self.shapes.sizes:
            if size not in timings:
                timings[size] = self._timed(size)[0]
        if self.config.deterministic:
            self._prove_independence()
        return tuple((items, s) for items, s in timings.items() if items <= self.max_batch), use

    def _budget(self, idle: int) -> int | None:
        """The share of one lane: the model is there once, batches are there once a lane."""
        whole = self.memory_budget()
        return None if whole is None else idle + (whole - idle) // self.lanes

    def _bound(self, use: MemoryUse) -> None:
        """Keep batches within the budget.

        Raises:
            ModelError: not even one item is.
        """
        if use.budget is not None and use.one > use.budget:
            raise ModelError(
                f"a batch of {self.shapes.padded(1)} needs {use.one >> 20} MiB, of which the model "
                f"alone {use.idle >> 20}; the host's share of the device is {use.budget >> 20} MiB "
                "(spec.gpu.memory; on a CPU spec.host.memory less what tasks share with the host)"
            )
        self._shrink(self.shapes.floor(use.largest_batch(self.max_batch)))

    def _shrink(self, most: int) -> None:
        """Lower the largest batch.

        Raises:
            ModelError: results that must not depend on the machine would.
        """
        if most >= self.max_batch:
            return
        if self.config.deterministic:
            raise ModelError(
                f"batching.deterministic: a batch of {self.max_batch} items does not fit the "
                f"device's memory, {most} would; set batching.maxSize to that"
            )
        self.max_batch = most
        self.shapes = self.shapes.within(most)

    def _timed(self, items: int) -> tuple[float, int]:
        """Run grey items: seconds, and bytes in use at the peak."""
        self.begin_peak()
        return self.grey_seconds(items), self.peak_bytes()

    def grey_seconds(self, items: int) -> float:
        """Run grey items: seconds."""
        batch = np.full((items, *self.handler.input_shape), _GREY, np.uint8)
        begun = time.monotonic()
        self.run([batch])
        return time.monotonic() - begun

    def _largest_batch(self) -> tuple[float, int]:
        """Run the largest batch, halving it until it fits; as `_timed`."""
        while True:
            try:
                return self._timed(self.max_batch)
            except OutOfMemory:
                if self.max_batch == self.shapes.floor(1):
                    raise
            self.halve()

    def halve(self) -> None:
        """Go on with batches of half the size, after running out of memory.

        Raises:
            ModelError: as `_shrink`.
        """
        self.free_memory()
        self._shrink(self.shapes.floor(max(1, self.max_batch // 2)))

    def _prove_independence(self) -> None:
        """An item gives the same rows alone and as the last of a full batch, bit for bit."""
        shape = (self.max_batch, *self.handler.input_shape)
        noise = np.random.default_rng(0).integers(0, 256, shape)
        companions = noise.astype(np.uint8)
        probe = companions[-1:]
        alone = self.run([probe])[0]
        together = self.run([companions])[-1]
        if not np.array_equal(alone, together):
            raise HandlerError(
                f"handler {self.config.handler} cannot run with batching.deterministic: an item's "
                "rows depend on the other items of its batch"
            )


def check_rows(found: Sequence[Any], count: int, handler: Handler) -> list[Rows]:
    """Hold what `predict` returned against the handler contract.

    Args:
        found: per item something numpy can read.
        count: items of the batch as `predict` got it.
        handler: whose contract.

    Raises:
        HandlerError: wrong number of items, too many rows, or rows of another width.
    """
    name = type(handler).__name__
    if len(found) != count:
        raise HandlerError(f"{name}.predict returned {len(found)} results for {count} items")
    checked: list[Rows] = []
    for rows in found:
        try:
            array = np.asarray(rows, np.float32)
        except (TypeError, ValueError) as error:
            raise HandlerError(f"{name}.predict returned no array of rows: {error}") from error
        if array.size == 0:
            array = array.reshape(0, handler.row_width)
        if array.ndim != 2 or array.shape[1] != handler.row_width:
            raise HandlerError(
                f"{name}.predict returned rows of shape {array.shape}, expected "
                f"[k, {handler.row_width}]"
            )
        if len(array) > handler.output_rows:
            raise HandlerError(
                f"{name}.predict returned {len(array)} rows for an item; its output_rows is "
                f"{handler.output_rows}"
            )
        checked.append(array)
    return checked


def check_fixed(found: FixedRows, count: int, handler: Handler) -> FixedRows:
    """Hold the shapes of what `predict_fixed` returned against the handler contract.

    Raises:
        HandlerError: not one count an item, too many rows, or rows of another width or type.
    """
    rows, counts = tuple(found.rows.shape), tuple(found.counts.shape)
    fits = len(rows) == 3 and rows[1] <= handler.output_rows and rows[2] == handler.row_width
    name = f"{type(handler).__name__}.predict_fixed"
    if not fits or rows[0] != count or counts != (count,):
        raise HandlerError(
            f"{name} returned rows {list(rows)} and counts {list(counts)}, expected [{count}, at "
            f"most {handler.output_rows}, {handler.row_width}] and [{count}]"
        )
    if str(found.rows.dtype) != "torch.float32":
        raise HandlerError(f"{name} returned rows of {found.rows.dtype}, expected torch.float32")
    return found
