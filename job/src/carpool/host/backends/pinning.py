"""Arenas that a CUDA device reads by itself.

Memory that the driver has pinned is fetched by the device's copy engine while everybody else goes
on; other memory is first copied by the calling thread. Pinning takes a millisecond for every few
megabytes, so it is done once, when a client comes (CUDA Runtime API, cudaHostRegister).

What must stay true: memory is unpinned before its mapping goes, and only after the device's last
copy from it; both are the admission's business, which calls `detach` then.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_LOG = logging.getLogger("carpool.host")

_cuda: Any = torch.cuda  # most of it has no types
_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every CUDA context of the process."""


class PinnedArenas:
    """Pins and unpins; from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._addresses: set[int] = set()
        self._lock = threading.Lock()

    def pin(self, memory: NDArray[np.uint8]) -> None:
        """Pin; where that fails copies from it wait, and are right all the same."""
        if not memory.size:
            return
        address = memory.ctypes.data
        try:
            with _cuda.device(self._device):
                code = int(_cuda.cudart().cudaHostRegister(address, memory.size, _PORTABLE))
        except (RuntimeError, AssertionError) as error:
            # No device: whoever loads the model meets the same, and tells it.
            _LOG.warning("an arena is not pinned: %s", error)
            return
        if code:
            _LOG.warning(
                "an arena of %d MiB is not pinned: cudaHostRegister gave %d; copies from it will "
                "keep the thread that launches batches waiting",
                memory.size >> 20,
                code,
            )
            return
        with self._lock:
            self._addresses.add(address)

    def unpin(self, memory: NDArray[np.uint8]) -> None:
        """Undo `pin`, where it succeeded."""
        address = memory.ctypes.data
        with self._lock:
            if address not in self._addresses:
                return
            self._addresses.remove(address)
        with suppress(RuntimeError), _cuda.device(self._device):  # a lost device has no memory
            _cuda.cudart().cudaHostUnregister(address)
