"""The simulated device, for arms in which several processes use it: they take turns.

A batch of n items takes b + a·n, and one batch runs at a time, whoever's it is, in the order in
which they came: what a GPU does with several processes' kernels without MPS, but for the cost of
switching between their contexts (10 to 20 % of the throughput have been published), which is left
out in these arms' favour. Left out too: copies to and from the device, which take no time. What a
process computes on the processor (copying frames, messages) it really computes, on the cores that
this machine has.

What must stay true: the moment at which the device is free changes under the lock only.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path

_FREE_AT = struct.Struct("<d")


class TimeLine:
    """One device of a machine, in a file that all processes know.

    Args:
        path: of the file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def run(self, seconds: float) -> None:
        """Have the device work for so long, after all that is there already; waits for the end."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            written = os.pread(self._descriptor, _FREE_AT.size, 0)
            free_at = _FREE_AT.unpack(written)[0] if written else 0.0
            end: float = max(free_at, time.monotonic()) + seconds
            os.pwrite(self._descriptor, _FREE_AT.pack(end), 0)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        left = end - time.monotonic()
        if left > 0:
            time.sleep(left)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
