"""A device that exists only in time: real rows of a numpy handler, latency and faults as told.

Batching, overlap, memory limits and every kind of failure can be tested with it exactly, on any
machine. Like a CUDA device it computes by itself: `launch` returns at once, batches run one after
another on the device's own time line, and `collect` waits for a batch's end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from carpool.host.backends.base import DeviceLost, Items, LoadReport, OutOfMemory
from carpool.host.backends.numpy import HostBatch, NumpyBackend
from carpool.host.config import HostConfig
from carpool.host.model_files import ModelPaths
from carpool.vision.handler import Handler, Rows


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """Rows that are there at once, and the moment at which the device would have them."""

    rows: list[Rows]
    done_at: float


class SimulatedBackend(NumpyBackend):
    """See `carpool.host.config.SimulatedDevice` for what can be asked of it."""

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`."""
        super().__init__(handler, config, generation)
        device = config.simulated
        self.depth = 1 if "overlap" in config.without else device.depth
        self._device = device
        self._faulty = device.fault_generations is None or generation <= device.fault_generations
        self._bad = _prefix(device.bad_prefix)
        self._crash = _prefix(device.crash_prefix)
        self._hang = _prefix(device.hang_prefix)
        self._free_at = 0.0
        self._peak_items = 0
        self._serving = False
        self._launched = 0

    def load(self, model: ModelPaths) -> LoadReport:
        """Load as any backend; batches are counted from here, the warm-up's are nobody's."""
        report = super().load(model)
        self._serving = True
        return report

    def device_name(self) -> str:
        """Tells it from any real device."""
        return "simulated"

    def weights_bytes(self) -> int:
        """As told."""
        return self._device.weights_bytes

    def begin_peak(self) -> None:
        """Count the largest batch from here."""
        self._peak_items = 0

    def peak_bytes(self) -> int:
        """What weights and the largest batch since then take."""
        return self._bytes(self._peak_items)

    def launch(self, staged: HostBatch) -> SimulatedRun:  # type: ignore[override]  # only `collect` reads it
        """Compute the rows and put the batch on the device's time line.

        Raises:
            OutOfMemory: more items than the device's memory holds.
            DeviceLost: as told.
            ValueError: a bad item.
        """
        self._launched += self._serving
        self._fail(staged)
        self._peak_items = max(self._peak_items, len(staged.batch))
        rows = super().launch(staged)
        seconds = (self._device.base_ms + self._device.item_ms * len(staged.batch)) / 1e3
        self._free_at = max(self._free_at, time.monotonic()) + seconds
        return SimulatedRun(rows, self._free_at)

    def collect(self, running: SimulatedRun) -> list[Rows]:  # type: ignore[override]  # as `launch`
        """Wait for the batch's end on the device's time line."""
        left = running.done_at - time.monotonic()
        if left > 0:
            time.sleep(left)
        return running.rows

    def _bytes(self, items: int) -> int:
        return self._device.weights_bytes + items * self._device.item_bytes

    def _fail(self, staged: HostBatch) -> None:
        device, count = self._device, len(staged.batch)
        if device.memory_items is not None and count > device.memory_items:
            raise OutOfMemory(f"{count} items, memory holds {device.memory_items}")
        if self._bytes(count) > (self.config.memory_bytes or self._bytes(count)):
            raise OutOfMemory(
                f"{count} items need {self._bytes(count)} bytes of {self.config.memory_bytes}"
            )
        if self._launched == device.oom_at_batch:
            raise OutOfMemory(f"injected at batch {self._launched}")
        if self._faulty and self._launched == device.lost_at_batch:
            raise DeviceLost(f"injected at batch {self._launched}")
        if self._faulty and self._launched == device.crash_at_batch:
            os.kill(os.getpid(), signal.SIGKILL)
        heads: Sequence[bytes] = [item.reshape(-1)[:16].tobytes() for item in _real(staged)]
        if self._faulty and _any(heads, self._crash):
            os.kill(os.getpid(), signal.SIGKILL)
        while self._faulty and _any(heads, self._hang):
            time.sleep(3600)
        if _any(heads, self._bad):
            raise ValueError("injected: bad item")


def _real(staged: HostBatch) -> Items:
    return staged.batch[: staged.items]


def _prefix(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _any(heads: Sequence[bytes], prefix: bytes | None) -> bool:
    return prefix is not None and any(head.startswith(prefix) for head in heads)
