"""Filling a network from a .safetensors file; for handlers of format Python.

The format holds nothing but named tensors, so reading one runs no code. What is checked here is
that names, shapes and dtypes are the network's own: a network that is filled in part computes
nonsense without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from carpool.errors import ModelFormatError, ModelNotFound

_SHOWN = 5


def load_safetensors(path: Path, module: nn.Module) -> None:
    """Copy the tensors of a file into the parameters and buffers of a module, on its device.

    Tensors that a module shares (tied weights) may be there under one of their names.

    Args:
        path: the .safetensors file.
        module: built, with the shapes and dtypes of the file; changed in place, wholly or, if this
            raises, not at all.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no .safetensors file, truncated, or has other tensors than the
            module; the message names the file and the first of them.
    """
    if not path.is_file():
        raise ModelNotFound(f"{path}: no such file, expected a .safetensors file")
    try:
        found = load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise ModelFormatError(
            f"{path.name}: is no .safetensors file, or is damaged or truncated: {error}"
        ) from error
    wanted = dict(module.state_dict(keep_vars=True))
    _check_names(path.name, found, wanted)
    for name, tensor in found.items():
        target = wanted[name]
        if tensor.shape != target.shape or tensor.dtype != target.dtype:
            raise ModelFormatError(
                f"{path.name}: {name} is {_type(tensor)}, and the network has {_type(target)}"
            )
    with torch.no_grad():
        for name, tensor in found.items():
            wanted[name].copy_(tensor)


def _check_names(
    file: str, found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> None:
    unexpected = sorted(set(found) - set(wanted))
    if unexpected:
        raise ModelFormatError(
            f"{file}: has {_some(unexpected)}, which the network does not have; "
            "is it a file of this network?"
        )
    filled = {_storage(wanted[name]) for name in found}
    missing = [
        name for name in wanted if name not in found and _storage(wanted[name]) not in filled
    ]
    if missing:
        raise ModelFormatError(f"{file}: has no {_some(missing)}, which the network needs")


def _storage(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for names of one and the same tensor."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())


def _type(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}".removeprefix("torch.")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
