"""The .weights file: the values of a Darknet network, without names or shapes.

The file is a header and one run of float32; which value is whose follows from the .cfg alone. So
the one check there is, the exact size, is made before anything is read, and a file of another
network is refused instead of being read with an offset. Values that no training can give (NaN,
infinite, a negative variance) are refused too: they are the mark of a damaged file.

Layout, little-endian (github.com/AlexeyAB/darknet, `load_weights_upto`): major, minor, revision
int32; images seen in training, 8 bytes from version 0.2 on, else 4; then for each convolution in
the order of the .cfg either bias, scale, mean, variance, weights (with batch normalisation) or
bias, weights. Darknet calls the bias of a batch normalisation "biases" too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carpool.errors import ModelFormatError, ModelNotFound

if TYPE_CHECKING:
    from carpool.vision.darknet.layers import Convolutional, Network

Values = NDArray[np.float32]

_VERSION = struct.Struct("<3i")
_SEEN_64 = struct.Struct("<Q")
_SEEN_32 = struct.Struct("<I")
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class BatchNormalization:
    """Statistics and scale of a batch normalisation; its offset is the convolution's bias.

    Attributes:
        scale: float32 [filters].
        mean: float32 [filters].
        variance: float32 [filters], none negative.
    """

    scale: Values
    mean: Values
    variance: Values


@dataclass(frozen=True, slots=True)
class ConvolutionWeights:
    """What one convolution owns.

    Attributes:
        bias: float32 [filters], added last, after the normalisation where there is one.
        normalization: None for a convolution without batch normalisation.
        weights: float32 [filters, input channels of a group, size, size].
    """

    bias: Values
    normalization: BatchNormalization | None
    weights: Values


def value_count(network: Network) -> int:
    """Number of float32 values in the network's .weights file."""
    return sum(_layer_values(layer) for layer in network.convolutions)


def read_weights(path: Path, network: Network) -> tuple[ConvolutionWeights, ...]:
    """Read the values of a network.

    Args:
        path: the .weights file.
        network: the network it belongs to.

    Returns:
        One element per convolution, in the order of `network.convolutions`.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: its size is not what the network needs, or a value is impossible.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            seen = _seen(file.read(_VERSION.size), path)
            start = _VERSION.size + seen.size
            expected = value_count(network)
            if size != start + expected * _FLOAT.itemsize:
                found = max(0, size - start) // _FLOAT.itemsize
                raise ModelFormatError(
                    f"{path.name}: found {size} bytes ({found} values), "
                    f"expected {start + expected * _FLOAT.itemsize} bytes ({expected} values) "
                    f"for the {len(network.convolutions)} convolutions of {network.source}: "
                    "the file is damaged, or belongs to another .cfg"
                )
            file.seek(start)
            values = np.fromfile(file, dtype=_FLOAT, count=expected)
    except FileNotFoundError as error:
        raise ModelNotFound(f"weights {path}: no such file") from error
    return _cut(values.astype(np.float32, copy=False), path, network)


def write_weights(path: Path, weights: tuple[ConvolutionWeights, ...], seen: int = 0) -> None:
    """Write values as Darknet 0.2.5 does.

    Args:
        path: the file to write.
        weights: one element per convolution, in the order of the .cfg.
        seen: number of images seen in training.
    """
    with path.open("wb") as file:
        file.write(_VERSION.pack(0, 2, 5) + _SEEN_64.pack(seen))
        for layer in weights:
            norm = layer.normalization
            statistics = () if norm is None else (norm.scale, norm.mean, norm.variance)
            for values in (layer.bias, *statistics, layer.weights):
                file.write(np.ascontiguousarray(values, dtype=_FLOAT).tobytes())


def _seen(header: bytes, path: Path) -> struct.Struct:
    """The layout of the count of seen images, which depends on the version."""
    if len(header) < _VERSION.size:
        raise ModelFormatError(
            f"{path.name}: found {len(header)} bytes, expected a header of "
            f"{_VERSION.size + _SEEN_64.size}"
        )
    major, minor, _ = _VERSION.unpack(header)
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise ModelFormatError(
            f"{path.name}: found version {major}.{minor}, expected 0.1 or 0.2: "
            "the file is no Darknet .weights"
        )
    return _SEEN_64 if major * 10 + minor >= 2 else _SEEN_32


def _layer_values(layer: Convolutional) -> int:
    per_filter = 4 if layer.batch_normalize else 1
    filters, channels, height, width = layer.weight_shape
    return filters * (per_filter + channels * height * width)


def _cut(values: Values, path: Path, network: Network) -> tuple[ConvolutionWeights, ...]:
    """Give each convolution its part of the values, as views."""
    found = []
    start = 0
    for layer in network.convolutions:
        part = values[start : start + _layer_values(layer)]
        start += part.size
        where = f"{path.name}: convolution at {network.source}:{layer.line}"
        if not np.isfinite(part).all():
            raise ModelFormatError(
                f"{where}: found values that are NaN or infinite, expected finite ones: "
                "the file is damaged, or belongs to another .cfg"
            )
        filters = layer.output.channels
        norm = None
        if layer.batch_normalize:
            scale, mean, variance = part[filters : 4 * filters].reshape(3, filters)
            if (variance < 0).any():
                raise ModelFormatError(
                    f"{where}: found a variance of {variance.min():g}, expected none below 0: "
                    "the file is damaged, or belongs to another .cfg"
                )
            norm = BatchNormalization(scale, mean, variance)
        weights = part[(4 if norm else 1) * filters :].reshape(layer.weight_shape)
        found.append(ConvolutionWeights(part[:filters], norm, weights))
    return tuple(found)
