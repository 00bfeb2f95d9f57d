"""Batches of a few sizes, recorded as CUDA graphs: one call each instead of some hundred.

Source: PyTorch documentation, "CUDA semantics", "CUDA Graphs". All records share one pool of
memory, since only one of them runs at a time; the largest is made first, so that the others fit
into what it took. A record reads one input and writes its own outputs, always the same memory.

What must stay true: replays and whatever reads their outputs are on one stream; recording happens
while no other work is launched by its thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from carpool.host.backends.base import ProcessSpoiled
from carpool.host.backends.device_errors import says_no_memory
from carpool.vision.handler import FixedRows

_cuda: Any = torch.cuda  # most of it has no types
_REHEARSALS = 3
"""Runs before a recording, in which cuDNN and cuBLAS choose what they will do."""

Predict = Callable[[torch.Tensor], FixedRows | None]


@dataclass(frozen=True, slots=True)
class _Record:
    graph: Any
    found: FixedRows


class RecordedBatches:
    """Records of one function.

    Args:
        item_shape: of the function's uint8 items.
        device: where it computes.
        stream: that it computes on.
    """

    def __init__(self, item_shape: Sequence[int], device: torch.device, stream: Any) -> None:
        self._item_shape = tuple(item_shape)
        self._device = device
        self._stream = stream
        self._records: dict[int, _Record] = {}
        self._input = torch.empty(0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that are recorded, in ascending order."""
        return tuple(sorted(self._records))

    def record(self, predict: Predict, sizes: Sequence[int]) -> bool:
        """Record batches of these sizes, in ascending order.

        Returns:
            False where `predict` gives None, and so nothing was recorded.

        Raises:
            RuntimeError: no memory, or the function does what cannot be recorded; call `forget`.
            ProcessSpoiled: the same was only found by the device.
        """
        self._input = torch.zeros(
            (sizes[-1], *self._item_shape), dtype=torch.uint8, device=self._device
        )
        # All rehearsals first: a batch that is rehearsed needs its memory beside what is recorded.
        with torch.inference_mode(), _cuda.stream(self._stream):
            if not all(self._rehearse(predict, self._input[:size]) for size in sizes):
                self.forget()
                return False
            pool = _cuda.graph_pool_handle()
            for size in reversed(sizes):
                self._records[size] = self._record(predict, self._input[:size], pool)
        return True

    def replay(self, items: torch.Tensor) -> FixedRows | None:
        """Compute a batch as recorded (on the stream); None where its size has no record.

        The result is overwritten by the next batch of any size.
        """
        record = self._records.get(len(items))
        if record is None:
            return None
        self._input[: len(items)].copy_(items)
        record.graph.replay()
        return record.found

    def forget(self) -> None:
        """Drop all records; their memory goes back to torch's allocator."""
        self._records.clear()
        self._input = torch.empty(0)

    def _rehearse(self, predict: Predict, items: torch.Tensor) -> bool:
        """Run until everything is chosen; False where there is nothing to record.

        Raises:
            RuntimeError: the function waits for the device. A record that fails for that reason
                spoils torch's allocator, so it is found before; see `_record`.
        """
        for _ in range(_REHEARSALS):
            if predict(items) is None:
                return False
        with _no_waiting():
            predict(items)
        self._stream.synchronize()
        return True

    def _record(self, predict: Predict, items: torch.Tensor, pool: Any) -> _Record:
        """Record one batch.

        Raises:
            RuntimeError: no memory, and whatever the function raises.
            ProcessSpoiled: the device ended the recording. torch's allocator, up to release 2.11,
                then goes on as if it was still under way (`CUDAGraph::capture_end`,
                pytorch#180395), and nothing that this process frees comes back.
        """
        graph = _cuda.CUDAGraph()
        failed: BaseException | None = None
        try:
            # Another thread pins clients' arenas meanwhile; that must not spoil the record.
            with (
                _no_choosing(),
                _cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"),
            ):
                try:
                    found = predict(items)
                except BaseException as error:
                    failed = error
                    raise
        except RuntimeError as error:
            if failed is None or (failed is not error and not says_no_memory(failed)):
                raise ProcessSpoiled(
                    f"a batch cannot be recorded: {failed or error}", "cuda_graphs"
                ) from error
            raise failed from None  # ending a record that found no memory may fail, and hide it
        if found is None:
            raise RuntimeError("predict_fixed gave rows in a rehearsal, and none now")
        return _Record(graph, found)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Any call that waits for the device raises."""
    before = _cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself a prototype
        _cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        _cuda.set_sync_debug_mode(before)


@contextmanager
def _no_choosing() -> Iterator[None]:
    """What cuDNN chose in the rehearsals is used: trying algorithms cannot be recorded."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
