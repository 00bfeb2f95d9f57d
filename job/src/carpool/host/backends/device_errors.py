"""What an error of torch or CUDA means for the batch, for this process and for the device.

Frameworks tell by words: torch's own types say "no memory" and little else. What must stay true: an
error that only this batch has is left as it is, so that the batch is split and the culprit found; a
process that can compute nothing any more ends, since it would blame every item in turn.

The words are those of cudaGetErrorString (CUDA Runtime API, "cudaError"), of cuDNN's and cuBLAS's
status names, and of torch where it finds no device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from carpool.host.backends.base import DEVICE_ERRORS, DeviceLost, OutOfMemory

_NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_LOST = (
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "hardware stack error",
    "CUDA-capable device(s) is/are busy or unavailable",
    "no CUDA-capable device is detected",
    "system not yet initialized",
    "CUDA driver version is insufficient",
    "unknown error",  # after a GPU fell off the bus
    "No CUDA GPUs are available",
    "Found no NVIDIA driver",
)
_DEVICE_ERRORS = (*DEVICE_ERRORS, "CUDA unknown error")


def says_no_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do better."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def says_device_error(error: BaseException) -> bool:
    """Whether a call of CUDA failed, for whatever reason."""
    return isinstance(error, RuntimeError) and (
        says_lost(error) or any(words in str(error) for words in _DEVICE_ERRORS)
    )


def says_lost(error: BaseException) -> bool:
    """Whether a new process on the same device would fare no better."""
    text = str(error)
    named = any(words in text for words in _DEVICE_ERRORS)
    return isinstance(error, RuntimeError) and any(
        words in text for words in _LOST if named or words != "unknown error"
    )


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn the many kinds of "no memory" into one, and what says that the device is gone.

    Raises:
        OutOfMemory: a smaller batch may fit.
        DeviceLost: the device is unusable.
    """
    try:
        yield
    except Exception as error:
        if says_no_memory(error):
            raise OutOfMemory(str(error)) from error
        if says_lost(error):
            raise DeviceLost(str(error)) from error
        raise
