"""Activations whose result does not depend on where a value lies in a tensor.

On a CPU torch computes `sigmoid`, `silu` and `mish` with vector instructions in bulk and with
scalar code for the last few values of each thread's share; the two differ in the last bit. An
item's boxes would then depend on its place in the batch. `exp`, sums, products and quotients do not
have that fault (the first has one code path, the others are exactly rounded), so on a CPU
everything is built from them. On a GPU each value has a thread of its own, and torch's fused
kernels are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from carpool.vision.darknet.layers import Activation

LEAKY_SLOPE = 0.1

_MISH_LIMIT = 20.0
"""Beyond it mish(x) is x in float32, and exp(x)² would overflow."""


def sigmoid(values: torch.Tensor) -> torch.Tensor:
    """Logistic function, 1 / (1 + exp(-x))."""
    if values.is_cuda:
        return torch.sigmoid(values)
    return torch.neg(values).exp_().add_(1.0).reciprocal_()


def swish(values: torch.Tensor) -> torch.Tensor:
    """Swish, x · sigmoid(x) (Ramachandran et al. 2017, arXiv 1710.05941)."""
    if values.is_cuda:
        return functional.silu(values)
    return sigmoid(values).mul_(values)


def mish(values: torch.Tensor) -> torch.Tensor:
    """Mish, x · tanh(ln(1 + exp(x))) (Misra 2019, arXiv 1908.08681).

    With n = exp(x) · (exp(x) + 2) that is x · n / (n + 2).
    """
    if values.is_cuda:
        return functional.mish(values)
    # In float32 even where the network is in half precision, which exp(x)² would leave.
    exponential = values.float().clamp(max=_MISH_LIMIT).exp_()
    ratio = exponential.add(2.0).mul_(exponential)
    return ratio.div_(ratio + 2.0).mul_(values).to(values.dtype)


def _leaky(values: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(values, LEAKY_SLOPE, inplace=True)


def _relu(values: torch.Tensor) -> torch.Tensor:
    return functional.relu(values, inplace=True)


def _linear(values: torch.Tensor) -> torch.Tensor:
    return values


_FUNCTIONS: Mapping[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": _linear,
    "leaky": _leaky,
    "relu": _relu,
    "logistic": sigmoid,
    "mish": mish,
    "swish": swish,
}


def activation(name: Activation) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of an activation; it may overwrite its argument."""
    return _FUNCTIONS[name]
