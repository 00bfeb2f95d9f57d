"""The part of a CUDA device's memory that this process keeps to, whatever is free.

What must stay true: CUDA itself is counted. A context, kernels and graphs take memory outside of
torch's allocator, as they are loaded and made; so the allocator is bounded anew after such work.
"""

from __future__ import annotations

import torch

from carpool.errors import ModelError
from carpool.host.config import HostConfig

_MOST_CONTEXT = 1 << 30
"""Of what a device has in use beside torch's allocator, so much may be this process's context and
libraries. On a GPU of its own that is all of it; beside others it cannot be told whose it is."""


class DeviceShare:
    """Bounds torch's allocator.

    Attributes:
        budget: bytes of the share; None for no bound, or before `take`.
        context: bytes that CUDA itself takes, the most that was seen.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.budget: int | None = None
        self.context = 0

    def take(self, config: HostConfig) -> None:
        """See what the device has, and bound torch's allocator.

        Raises:
            ModelError: as `bound`.
            RuntimeError: the device cannot be used, or has no memory at all.
        """
        # A convolution loads cuDNN, so that it is counted.
        tiny = torch.zeros(1, 8, 8, 8, device=self._device)
        torch.nn.functional.conv2d(tiny, tiny)
        torch.cuda.synchronize(self._device)
        self.budget = share_bytes(config, torch.cuda.mem_get_info(self._device)[1])
        self.bound()

    def bound(self) -> None:
        """Let torch's allocator have the share less what CUDA itself takes now.

        Raises:
            ModelError: nothing is left.
        """
        free, total = torch.cuda.mem_get_info(self._device)
        outside = total - free - torch.cuda.memory_reserved(self._device)
        self.context = max(self.context, min(outside, _MOST_CONTEXT))
        if self.budget is None:
            return
        room = self.budget - self.context
        if room <= 0:
            name = torch.cuda.get_device_name(self._device)
            raise ModelError(
                f"the host's share of {name} is {self.budget >> 20} MiB, of which CUDA itself "
                f"takes {self.context >> 20} (spec.gpu.memory)"
            )
        torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), self._device)

    def peak_bytes(self) -> int:
        """Most memory since the allocator's peak was reset, of it and of CUDA itself."""
        return self.context + torch.cuda.max_memory_reserved(self._device)


def share_bytes(config: HostConfig, total: int) -> int | None:
    """The host's share of a device that has `total` bytes; None for no bound."""
    if config.memory_bytes is not None:
        return min(config.memory_bytes, total)
    part = config.memory_fraction
    # The whole of it is no bound: torch counts in parts of it, and would stop short of the end.
    return None if part is None or part == 1 else int(part * total)
