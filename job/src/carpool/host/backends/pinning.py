"""Arenas that a CUDA device reads by itself.

Memory that the driver has pinned is fetched by the device's copy engine while everybody else goes
on; other memory is first copied by the calling thread. Pinning takes a millisecond for every few
megabytes, so it is done once, when a client comes (CUDA Runtime API, cudaHostRegister).

What must stay true: memory is unpinned before its mapping goes, and only after the device's last
copy from it; both are the admission's business, which calls `detach` then. And the thread that
pins computes nothing: a call that fails leaves an error behind for its thread's next kernel.
"""

from __future__ import annotations

import logging
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
    """Pins and unpins, in a thread that computes nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._addresses: set[int] = set()

    def pin(self, memory: NDArray[np.uint8]) -> None:
        """Pin; where that fails copies from it wait, and are right all the same."""
        address = memory.ctypes.data
        if not memory.size or address in self._addresses:
            return
        try:
            with _cuda.device(self._device):
                code = int(_cuda.cudart().cudaHostRegister(address, memory.size, _PORTABLE))
        except Exception as error:  # noqa: BLE001 - torch has many words for "no device"
            # Whoever loads the model meets the same, and tells it.
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
        self._addresses.add(address)

    def unpin(self, memory: NDArray[np.uint8]) -> None:
        """Undo `pin`, where it succeeded."""
        address = memory.ctypes.data
        if address not in self._addresses:
            return
        self._addresses.remove(address)
        with suppress(RuntimeError), _cuda.device(self._device):  # a lost device has no memory
            if code := int(_cuda.cudart().cudaHostUnregister(address)):
                _LOG.warning("an arena stays pinned: cudaHostUnregister gave %d", code)
