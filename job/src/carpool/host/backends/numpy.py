"""Handlers that compute with numpy: on the CPU, in the launcher thread."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from carpool.host.backends.base import Items, gather
from carpool.host.backends.handler_backend import HandlerBackend, check_rows
from carpool.host.memory import ProcessMemory
from carpool.vision.handler import LoadContext, Rows


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A batch in the host's memory: `items` of it are real, the rest pads it."""

    batch: Items
    items: int


class NumpyBackend(HandlerBackend):
    """Computes in `launch`."""

    def load_model(self, context: LoadContext) -> None:
        """Have the handler load its model."""
        self.handler.load(context)

    def device_name(self) -> str:
        """Always the CPU."""
        return "cpu"

    def weights_bytes(self) -> int:
        """Arrays that the handler holds."""
        return array_bytes(vars(self.handler))

    def begin_peak(self) -> None:
        """Count the peak of this process's memory from here."""
        ProcessMemory.begin_peak()

    def peak_bytes(self) -> int:
        """Most memory of this process since then."""
        return ProcessMemory.peak_bytes()

    def stage(self, parts: Sequence[Items], key: Hashable = None) -> HostBatch:  # noqa: ARG002 - a handler has one kind of items
        """Gather the parts; read-only, because a single part is the client's own memory."""
        batch = gather(parts, self.shapes).view()
        batch.flags.writeable = False
        return HostBatch(batch, sum(len(part) for part in parts))

    def launch(self, staged: HostBatch) -> list[Rows]:
        """Compute, and check what the handler returned."""
        found = self.handler.predict(staged.batch)
        return check_rows(found, len(staged.batch), self.handler)[: staged.items]

    def collect(self, running: list[Rows]) -> list[Rows]:
        """`launch` has computed everything."""
        return running


def array_bytes(holder: Any) -> int:
    """Bytes of the arrays in a mapping, list or tuple, however deep."""
    if isinstance(holder, np.ndarray):
        return holder.nbytes
    if isinstance(holder, Mapping):
        return sum(array_bytes(value) for value in holder.values())
    if isinstance(holder, list | tuple):
        return sum(array_bytes(value) for value in holder)
    return 0
