from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from carpool.errors import HandlerError  # noqa: E402 - needs torch
from carpool.host.backends.base import DeviceLost, OutOfMemory  # noqa: E402 - as above
from carpool.host.backends.device_errors import (  # noqa: E402 - as above
    device_errors,
    says_device_error,
)

pytestmark = pytest.mark.torch

ILLEGAL = RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), OutOfMemory),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), DeviceLost),
        (RuntimeError("CUDA error: unknown error"), DeviceLost),
        (RuntimeError("No CUDA GPUs are available"), DeviceLost),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), DeviceLost),
        # One item's fault, or the process's: that is told by whether the device answers.
        (ILLEGAL, RuntimeError),
        (RuntimeError("an unknown error in my own code"), RuntimeError),
        (ValueError("uncorrectable ECC error"), ValueError),
        (HandlerError("predict returned 3 results for 4 items"), HandlerError),
    ],
)
def test_what_an_error_means_follows_from_its_type_and_words(raised, becomes):
    with pytest.raises(Exception) as caught, device_errors():  # noqa: PT011 - compared below
        raise raised
    assert type(caught.value) is becomes
    assert str(raised) in str(caught.value)


def test_only_what_a_device_says_is_a_reason_to_ask_it():
    assert says_device_error(ILLEGAL)
    assert says_device_error(RuntimeError("CUDA driver error: device not ready"))
    assert not says_device_error(RuntimeError("shape mismatch"))
    assert not says_device_error(ValueError("CUDA error"))
