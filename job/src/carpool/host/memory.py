"""How much memory a batch takes, and so how large it may be. Pure, but for reading this process's.

What must stay true: the budget is the share that the host was given, never what happens to be free
when it looks: two hosts that look at the same moment would both take all of it.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What was measured when the model was loaded, bytes.

    Attributes:
        weights: the model's tensors.
        idle: in use on the device with the model loaded and no batch running.
        one: in use at the peak of the smallest batch.
        per_item: what each further item of a batch adds.
        budget: the share of the device that the host was given; None for no bound.
    """

    weights: int = 0
    idle: int = 0
    one: int = 0
    per_item: int = 0
    budget: int | None = None

    def peak(self, items: int) -> int:
        """In use at the peak of a batch of so many items."""
        return self.one + max(0, items - 1) * self.per_item

    def largest_batch(self, most: int) -> int:
        """The largest batch, up to `most`, whose peak is within the budget; 0 if not even one."""
        if self.budget is None:
            return most
        if self.one > self.budget:
            return 0
        if not self.per_item:
            return most
        return min(most, 1 + (self.budget - self.one) // self.per_item)


def per_item_bytes(small: int, large: int, more: int) -> int:
    """What each item adds, from the peaks of two batches of which one has `more` items."""
    return max(0, large - small) // more


class ProcessMemory:
    """Peak of this process's own memory; shared memory is not counted, since arenas are its.

    Resetting the peak: proc(5), /proc/pid/clear_refs. Where that is forbidden the peak is the
    process's highest ever, which errs on the safe side.
    """

    @staticmethod
    def begin_peak() -> None:
        """Count the peak from here."""
        with suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")

    @staticmethod
    def peak_bytes() -> int:
        """The peak since `begin_peak`."""
        return _status_bytes("VmHWM") - _status_bytes("RssShmem")


def trim_heap() -> None:
    """Give the kernel what this process's heap has free (malloc_trim(3), of glibc alone)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0
