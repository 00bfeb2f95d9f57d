"""What every backend of torch handlers does alike: loading, and results in main memory.

Deterministic mode: the result of a convolution depends on the batch's shape and on the number of
threads, so every batch is padded to one shape and the threads are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from carpool.host.backends.handler_backend import HandlerBackend
from carpool.host.config import HostConfig
from carpool.vision.handler import Handler, LoadContext


class TorchBackend(HandlerBackend):
    """One model on one torch device.

    Attributes:
        device: where it is.
        threads: that one batch is computed with on a CPU.
    """

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        self.device = torch.device(config.device)
        self.threads = config.compute_threads
        super().__init__(handler, config, generation)

    def load_model(self, context: LoadContext) -> None:
        """Fix threads and algorithms, then have the handler load its model."""
        torch.set_num_threads(self.threads)
        if self.config.deterministic:
            torch.use_deterministic_algorithms(True)
        with torch.no_grad():
            self.handler.load(context)

    def weights_bytes(self) -> int:
        """Storage of the tensors and modules that the handler holds, shared storage once."""
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in _tensors(self.handler, set())
        }
        return sum(storages.values())


def to_host(found: Sequence[Any]) -> list[Any]:
    """Rows of each item as arrays in main memory, float32; what is no tensor as it is."""
    return [
        rows.detach().to("cpu", torch.float32).numpy() if isinstance(rows, torch.Tensor) else rows
        for rows in found
    ]


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
