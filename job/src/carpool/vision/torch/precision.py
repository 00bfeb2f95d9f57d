"""Which number type a model computes in, for a precision as written in the job and a device."""

from __future__ import annotations

import torch

from carpool.errors import ModelError

_TYPES = {
    "Float32": torch.float32,
    "Float16": torch.float16,
    "BFloat16": torch.bfloat16,
}


def dtype_for(precision: str, device: torch.device) -> torch.dtype:
    """The type for `spec.model.precision`.

    Auto is Float16 on a GPU, which has units for it, and Float32 on a CPU, where no half precision
    is fast everywhere: BFloat16 needs a processor with instructions for it, Float16 ran thirty
    times slower than Float32 on one that has them. Results in different precisions are alike
    within the tolerance of the coarser one, not to the last bit.

    Raises:
        ModelError: the device cannot compute in that precision, or there is no such precision.
    """
    if precision == "Auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in _TYPES:
        raise ModelError(
            f"spec.model.precision: found {precision!r}, "
            f"expected one of Auto, {', '.join(sorted(_TYPES))}"
        )
    if (
        precision == "BFloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ModelError(
            f"spec.model.precision: BFloat16 is not supported by "
            f"{torch.cuda.get_device_name(device)}; use Auto, Float16 or Float32"
        )
    return _TYPES[precision]
