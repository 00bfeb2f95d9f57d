"""Handlers on a CUDA device: pinned arenas, recorded batches, a bounded share of its memory.

A client's arena is pinned once, so that the device fetches uint8 items from where the client's
decoder put them, while it computes something else. Batches have few sizes; where a handler has
`predict_fixed`, each size is recorded as a CUDA graph, and a batch is one call instead of some
hundred (PyTorch documentation, "CUDA semantics", "CUDA Graphs").

What must stay true: the process keeps to its share of the memory whatever is free, its CUDA context
included; recording happens before clients are served, by the launcher thread alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from carpool.errors import ModelError
from carpool.host.backends.base import DeviceLost, LoadReport, OutOfMemory, ProcessSpoiled
from carpool.host.backends.cuda_graphs import RecordedBatches
from carpool.host.backends.cuda_share import DeviceShare
from carpool.host.backends.device_errors import says_device_error, says_no_memory
from carpool.host.backends.paying import paying_size
from carpool.host.backends.pinning import PinnedArenas
from carpool.host.backends.torch_streams import StreamedBackend
from carpool.host.config import HostConfig
from carpool.host.model_files import ModelPaths
from carpool.host.shapes import BatchShapes, powers_of_two
from carpool.vision.handler import FixedRows, Handler, LoadContext

_LOG = logging.getLogger("carpool.host")

_cuda: Any = torch.cuda  # most of it has no types
_TRIALS = 3


class CudaBackend(StreamedBackend):
    """One model on one CUDA device."""

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        super().__init__(handler, config, generation)
        self._share = DeviceShare(self.device)
        self._arenas = PinnedArenas(self.device)
        self._records: RecordedBatches | None = None
        self._unrecordable = False

    def load_model(self, context: LoadContext) -> None:
        """Take the device and its share of the memory, then load.

        Raises:
            DeviceLost: there is no such device, or it cannot be used.
            OutOfMemory: others have taken all of it; they may give it back.
            ModelError: torch was built without CUDA, or the share holds no more than what CUDA
                itself takes, or not the model.
        """
        if torch.version.cuda is None:
            raise ModelError(
                f"device {self.device} needs PyTorch with CUDA, and torch {torch.__version__} has "
                "none: use an image with PyTorch's CUDA build"
            )
        try:
            _cuda.init()
            _cuda.set_device(self.device.index or 0)
            self._share.take(self.config)
        except ModelError:
            raise
        except Exception as error:
            if says_no_memory(error):
                raise OutOfMemory(
                    f"device {self.device} has no memory left for CUDA itself: {error}"
                ) from error
            raise DeviceLost(f"device {self.device} cannot be used: {error}") from error
        # Batches have few shapes, so that trying the algorithms once for each pays.
        torch.backends.cudnn.benchmark = not self.config.deterministic
        try:
            with self.errors():
                super().load_model(context)
        except OutOfMemory as error:
            raise ModelError(
                f"the model does not fit the host's share of {self.device_name()} "
                f"(spec.gpu.memory): {error}"
            ) from error

    def new_stream(self) -> Any:
        """A stream of the device."""
        return _cuda.Stream(self.device)

    def new_event(self) -> Any:
        """An event that is waited for asleep: tasks decode on the same cores."""
        return _cuda.Event(blocking=True)

    def device_name(self) -> str:
        """The card's name."""
        return torch.cuda.get_device_name(self.device)

    def memory_budget(self) -> int | None:
        """The share that was taken at load."""
        return self._share.budget

    def begin_peak(self) -> None:
        """Count the peak of torch's allocator from here, without what it keeps from earlier."""
        self.free_memory()
        _cuda.reset_peak_memory_stats(self.device)

    def peak_bytes(self) -> int:
        """Most memory since then, of torch's allocator and of CUDA itself."""
        return self._share.peak_bytes()

    def free_memory(self) -> None:
        """Have the allocator return the blocks that nothing uses."""
        torch.cuda.empty_cache()

    def load(self, model: ModelPaths) -> LoadReport:
        """Load as any handler's backend; nothing is chosen and little is allocated afterwards."""
        report = super().load(model)
        # cuDNN remembers its choices for each thread; the collector, which rarely computes, would
        # make them anew in the middle of the work.
        torch.backends.cudnn.benchmark = False
        self._share.bound()  # the last time: what `warm_collector` finds is what there is
        return report

    def warm_collector(self) -> None:
        """As any device's; its memory must be there beside the records, or these are given up."""
        try:
            super().warm_collector()
        except OutOfMemory:
            if self._records is None:
                raise
        else:
            return
        _LOG.warning("batches run unrecorded: beside their records there is no memory for predict")
        self._records = None
        self.free_memory()
        super().warm_collector()

    def paying_batch(self) -> int:
        """The smallest size whose items take hardly longer than those of larger ones."""
        if self.config.max_batch is not None or self.config.batch_sizes:
            return self.max_batch
        # Launched one by one, operations of small batches take longer to launch than to run.
        self.record_shapes()
        return paying_size(self.shapes.sizes, self._item_seconds)

    def record_shapes(self) -> bool:
        """Record a graph for every size, as far as memory reaches."""
        if self._records is not None and self._records.sizes == self.shapes.sizes:
            return True  # as they were when sizes were compared
        self._records = None
        self.free_memory()
        if "cuda_graphs" in self.config.without or self._unrecordable:
            return super().record_shapes()
        records = RecordedBatches(self.handler.input_shape, self.device, self.compute_stream)
        while (recorded := self._recorded(records)) is None:
            records.forget()
            if self.max_batch == self.shapes.floor(1):
                _LOG.warning("batches run unrecorded: there is no memory for their records")
                break
            self.halve()
        if recorded:
            self._records = records
        else:
            super().record_shapes()
        return bool(recorded)

    def _recorded(self, records: RecordedBatches) -> bool | None:
        """Record all sizes; False where that cannot be done, None where there is no memory."""
        try:
            with self.errors():
                super().record_shapes()
                # Kernels were loaded, and graphs are made, outside of torch's allocator.
                self._share.bound()
                if not records.record(self.handler.predict_fixed, self.shapes.sizes):
                    return False
                self._share.bound()
                # What cannot be told ahead is computed beside the records.
                self.run_predict(self.max_batch)
        except OutOfMemory:
            return None
        except RuntimeError as error:
            # A program that looks at values cannot be recorded, and runs all the same.
            _LOG.warning("batches run unrecorded: %s", error)
            self._unrecordable = True
            records.forget()
            return False
        return True

    def predict_now(self, items: torch.Tensor) -> FixedRows | Sequence[Any]:
        """Replay the record of this size, where there is one."""
        if self._records is not None and not self.ahead:
            self._records = None  # their memory is needed for batches that run unrecorded
        if self._records is not None:
            found = self._records.replay(items)
            if found is not None:
                return found
        return super().predict_now(items)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """As `StreamedBackend.errors`; an error after which every call fails ends the process."""
        try:
            with super().errors():
                yield
        except RuntimeError as error:
            if says_device_error(error) and not _answers(self.device):
                raise ProcessSpoiled(str(error)) from error
            raise

    def attach(self, memory: NDArray[np.uint8]) -> None:
        """Pin a client's arena."""
        if "pinned_arenas" not in self.config.without:
            self._arenas.pin(memory)

    def detach(self, memory: NDArray[np.uint8]) -> None:
        """Unpin it."""
        self._arenas.unpin(memory)

    def _choose_shapes(self) -> BatchShapes:
        """Few sizes even where none were named: each is tuned, and recorded, for itself."""
        if self.config.batch_sizes or self.config.deterministic:
            return super()._choose_shapes()
        return powers_of_two(self.max_batch)

    def _timed(self, items: int) -> tuple[float, int]:
        """As any backend, of batches after the first: in that one cuDNN tries what takes more."""
        super()._timed(items)
        _, peak = super()._timed(items)
        return self.grey_seconds(items), peak

    def _item_seconds(self, size: int) -> float:
        """The device's time for an item in a batch of so many, copies left out.

        Raises:
            OutOfMemory: there is no memory for it.
        """
        self.free_memory()  # of a size that was tried before, and may not have fitted
        with self.errors():
            if self._records is None:
                self.run_predict(size)  # in which cuDNN tries its algorithms
            return self._shortest(size) / size

    def _shortest(self, size: int) -> float:
        """Seconds of the device for the fastest of a few batches."""
        times = []
        with torch.inference_mode(), _cuda.stream(self.compute_stream):
            items = self.black(size)
            for _ in range(_TRIALS):
                begun, ended = (_cuda.Event(enable_timing=True) for _ in range(2))
                begun.record(self.compute_stream)
                self.predict_now(items)
                ended.record(self.compute_stream)
                ended.synchronize()
                times.append(float(begun.elapsed_time(ended)) / 1e3)
        return min(times)


def _answers(device: torch.device) -> bool:
    """Whether the context is usable: after a sticky error every call fails the same way."""
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
