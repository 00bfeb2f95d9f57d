"""Batches on a device that computes by itself: copies there and back overlap the computation.

While one batch is computed the next is uploaded, or the last one's rows come back, each on a stream
of its own. It is written against the interface of streams and events that `torch.cuda` and
`torch.cpu` have in common; on a CPU everything has happened when a call returns, so what is here
runs, and is tested, where there is no GPU.

What must stay true: a place belongs to one batch from `stage` until its rows are in main memory;
an item's rows are those of `Handler.predict`, also where `Handler.predict_fixed` is faster; and
when a batch has failed, the device is done with the memory that its items came from.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from carpool.errors import HandlerError
from carpool.host.backends.base import Items
from carpool.host.backends.device_errors import device_errors
from carpool.host.backends.handler_backend import check_fixed, check_rows
from carpool.host.backends.places import Place
from carpool.host.backends.torch import TorchBackend, to_host
from carpool.host.config import HostConfig
from carpool.vision.handler import UNKNOWN, FixedRows, Handler, LoadContext, Rows

_LOG = logging.getLogger("carpool.host")

_WATCHED_ITEMS = 256
_MOST_TWICE = 1 / 8
"""Where of so many items a larger part is computed twice, `predict_fixed` is not worth its time."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A batch on its way to the device: `items` of `size` are real, the rest pads it."""

    place: Place
    items: int
    size: int


@dataclass(frozen=True, slots=True)
class Running:
    """A batch that the device works on.

    Attributes:
        staged: the batch.
        found: rows on the device as `predict` gave them, or fixed ones on their way to main memory.
    """

    staged: Staged
    found: FixedRows | Sequence[Any]


class StreamedBackend(TorchBackend):
    """One model on a device with streams; what depends on the kind of device is left to others.

    Attributes:
        ahead: whether `Handler.predict_fixed` is used: it is there, and pays.
    """

    default_max_batch = 64

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        super().__init__(handler, config, generation)
        self.depth = 1 if "overlap" in config.without else 2
        self._module = torch.get_device_module(self.device)
        self._places: deque[Place] = deque()
        # `predict` is for one thread at a time, and the collector may need it too.
        self._predicting = threading.Lock()
        self.ahead = True
        self._seen = self._twice = 0

    def load_model(self, context: LoadContext) -> None:
        """Load, and make the streams."""
        self.upload_stream, self.compute_stream, self.download_stream, self.fetch_stream = (
            self.new_stream() for _ in range(4)
        )
        super().load_model(context)
        # What the handler did to its weights, it did on none of these streams.
        self._module.synchronize()

    def record_shapes(self) -> bool:
        """Make the places that batches will have, while memory is still being measured."""
        self._places.clear()
        self._places.extend(self._new_place(self.max_batch) for _ in range(self.depth))
        return False

    def warm_collector(self) -> None:
        """Run `predict` for each size: cuDNN and cuBLAS have plans and memory by thread."""
        if not self.ahead:
            return  # then the launcher alone calls it
        for size in reversed(self.shapes.sizes or (self.max_batch,)):
            with self.errors():
                self.run_predict(size)

    def run_predict(self, size: int) -> None:
        """Run `predict` on a batch of black items, and wait for it."""
        stream = self._module.stream(self.compute_stream)
        with torch.inference_mode(), self._predicting, stream:
            self.handler.predict(self.black(size))
            self._module.synchronize()

    def black(self, size: int) -> torch.Tensor:
        """A batch of so many black items on the device."""
        shape = (size, *self.handler.input_shape)
        return torch.zeros(shape, dtype=torch.uint8, device=self.device)

    def new_stream(self) -> Any:
        """A stream of the device."""
        return self._module.Stream()

    def new_event(self) -> Any:
        """An event of the device."""
        return self._module.Event()

    def predict_now(self, items: torch.Tensor) -> FixedRows | Sequence[Any]:
        """Have the device compute a batch (compute stream, launcher thread)."""
        if self.ahead:
            found = self.handler.predict_fixed(items)
            if found is not None:
                return found
            self.ahead = False
        return self.handler.predict(items)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the device's errors into what the launcher knows."""
        with device_errors():
            yield

    def stage(self, parts: Sequence[Items], key: Hashable = None) -> Staged:  # noqa: ARG002 - a handler has one kind of items
        """Begin to copy the parts, each from where it lies, to their place on the device."""
        count = sum(len(part) for part in parts)
        size = self.shapes.padded(count)
        with self.errors(), self._module.stream(self.upload_stream):
            place = self._free_place(size)
            with self._done_if_it_fails(place):
                first = 0
                for part in parts:
                    target = place.items[first : first + len(part)]
                    target.copy_(torch.from_numpy(part), non_blocking=True)
                    first += len(part)
                place.items[count:size].zero_()
                place.uploaded.record(self.upload_stream)
        return Staged(place, count, size)

    def launch(self, staged: Staged) -> Running:
        """Begin to compute, and to bring back what has a known place."""
        with self.errors(), self._done_if_it_fails(staged.place):
            return self._launch(staged)

    def _launch(self, staged: Staged) -> Running:
        place = staged.place
        stream = self._module.stream
        with torch.inference_mode(), self._predicting, stream(self.compute_stream):
            self.compute_stream.wait_event(place.uploaded)
            found = self.predict_now(place.items[: staged.size])
            if isinstance(found, FixedRows):
                found = place.leave(check_fixed(found, staged.size, self.handler))
            place.computed.record(self.compute_stream)
            with stream(self.download_stream):
                self.download_stream.wait_event(place.computed)
                if isinstance(found, FixedRows):
                    found = place.arrive(found)
                place.downloaded.record(self.download_stream)
        return Running(staged, found)

    @contextmanager
    def _done_if_it_fails(self, place: Place) -> Iterator[None]:
        """Where a batch fails, wait until nothing is copied from its clients' memory any more."""
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):  # a device that is lost reads nothing
                place.uploaded.record(self.upload_stream)
                place.uploaded.synchronize()
            self._release(place)
            raise

    def collect(self, running: Running) -> list[Rows]:
        """Wait for the rows."""
        staged = running.staged
        place = staged.place
        with self.errors(), self._done_if_it_fails(place):
            place.downloaded.synchronize()
            if isinstance(running.found, FixedRows):
                known = self._arrived(staged, running.found)
                rows = check_rows(known, staged.items, self.handler)
            else:
                # Not on the download stream, where the next batch's end is already waited for.
                with self._module.stream(self.fetch_stream):
                    found = to_host(running.found)
                rows = check_rows(found, staged.size, self.handler)[: staged.items]
        self._release(place)
        return rows

    def _arrived(self, staged: Staged, found: FixedRows) -> list[Any]:
        """Rows of each item; of those that `predict_fixed` could not tell, from `predict`."""
        items = staged.items
        rows, counts = found.rows[:items].numpy(), found.counts[:items].tolist()
        most = found.rows.shape[1]
        if wrong := [count for count in counts if not UNKNOWN <= count <= most]:
            raise HandlerError(
                f"{type(self.handler).__name__}.predict_fixed counted {wrong[0]} rows of an item, "
                f"expected 0 to {most}, or {UNKNOWN} for what it cannot tell"
            )
        unknown = sum(count == UNKNOWN for count in counts)
        self._watch(items, items if unknown else 0)
        exact: Sequence[Any] = ()
        if unknown:
            # All of the batch: its shape was proven to fit, and with one shape for all batches an
            # item's rows do not depend on its companions. Behind the next batch, whose handler may
            # use the same memory.
            stream = self._module.stream(self.compute_stream)
            with torch.inference_mode(), self._predicting, stream:
                exact = to_host(self.handler.predict(staged.place.items[: staged.size]))
        # Copied: the next batch of this place overwrites them.
        return [
            exact[index] if count == UNKNOWN else rows[index, :count].copy()
            for index, count in enumerate(counts)
        ]

    def _watch(self, items: int, twice: int) -> None:
        """Give `predict_fixed` up where it does not pay."""
        self._seen += items
        self._twice += twice
        if self._seen < _WATCHED_ITEMS:
            return
        if self._twice > _MOST_TWICE * self._seen:
            _LOG.info(
                "of %d items %d were computed twice: predict_fixed is not used any more",
                self._seen,
                self._twice,
            )
            self.ahead = False
        self._seen = self._twice = 0

    def _free_place(self, size: int) -> Place:
        """A place for so many items: of an earlier batch, or a new one."""
        while self._places:
            place = self._places.popleft()
            if len(place.items) >= size:
                return place
        return self._new_place(size)

    def _new_place(self, size: int) -> Place:
        items = torch.empty(
            (size, *self.handler.input_shape), dtype=torch.uint8, device=self.device
        )
        return Place(items, [self.new_event() for _ in range(3)])

    def _release(self, place: Place) -> None:
        """Keep it for batches of any size; what failed or is small is left to the allocator."""
        if len(place.items) >= self.max_batch:
            self._places.append(place)
