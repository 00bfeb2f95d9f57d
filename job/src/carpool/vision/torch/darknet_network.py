"""A Darknet network in torch, from parsed layers and values to boxes.

Built for inference alone: batch normalisation is folded into the convolutions, a feature map is
freed after its last reader, and the layout is channels-last, which is how frames lie in a slot and
what both oneDNN and tensor cores like best (1.3 to 2.4 times as fast as channels-first on a CPU).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from carpool.vision.darknet.layers import (
    Convolutional,
    Layer,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    Yolo,
)
from carpool.vision.torch.activations import activation
from carpool.vision.torch.yolo_decode import Candidates, YoloDecode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from carpool.vision.darknet.layers import Network
    from carpool.vision.darknet.weights import ConvolutionWeights

NORMALIZATION_EPSILON = 1e-6
"""Added to the variance. Darknet's branches disagree (1e-6 or 1e-5); with this one the scores of
our reference (OpenCV's reader) come out to 5e-5, with 1e-5 they are off by up to 2e-3."""


class DarknetNetwork(nn.Module):
    """The network on a device.

    Args:
        network: layers with shapes.
        weights: one element per convolution, in order.
        device: where it lives and computes.
        dtype: type of values and feature maps; boxes are decoded in float32 all the same.
    """

    def __init__(
        self,
        network: Network,
        weights: Sequence[ConvolutionWeights],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._dtype = dtype
        self._inputs = [_inputs(layer) for layer in network.layers]
        self._last_reader = {
            source: layer.index
            for layer, sources in zip(network.layers, self._inputs, strict=True)
            for source in sources
        }
        values = iter(weights)
        self._layers = nn.ModuleList()
        for layer in network.layers:
            match layer:
                case Convolutional():
                    module: nn.Module = _Convolution(layer, next(values), device, dtype)
                case MaxPool():
                    module = _MaxPool(layer)
                case Upsample():
                    module = nn.Upsample(scale_factor=layer.stride, mode="nearest")
                case Route():
                    module = _Route(layer)
                case Shortcut():
                    module = _Shortcut(layer)
                case Yolo():
                    module = YoloDecode(layer, network.input, device)
                case _:
                    module = nn.Identity()
            self._layers.append(module)
        self.eval()

    def forward(self, batch: torch.Tensor) -> Candidates:
        """Propose boxes.

        Nothing in it waits for the device, and all shapes follow from that of the batch.

        Args:
            batch: uint8 [n, h, w, 3], BGR, on the network's device.
        """
        maps: dict[int, torch.Tensor] = {-1: self._image(batch)}
        found: list[Candidates] = []
        for index, (module, sources) in enumerate(zip(self._layers, self._inputs, strict=True)):
            output = module(*(maps[source] for source in sources))
            for source in set(sources):
                if self._last_reader[source] == index:
                    del maps[source]
            if isinstance(output, Candidates):
                found.append(output)
            elif index in self._last_reader:
                maps[index] = output
        return Candidates(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))

    def _image(self, batch: torch.Tensor) -> torch.Tensor:
        """RGB from 0 to 1, [n, 3, h, w]: the permuted view of a frame is channels-last already."""
        return batch.flip(3).permute(0, 3, 1, 2).to(self._dtype).div_(255.0)


def _inputs(layer: Layer) -> tuple[int, ...]:
    """Indices of the layers that a layer reads; -1 is the network's input."""
    match layer:
        case Route():
            return layer.sources
        case Shortcut():
            return (layer.index - 1, *layer.sources)
        case _:
            return (layer.index - 1,)


def fold(
    values: ConvolutionWeights,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and bias of the convolution that equals convolution plus batch normalisation.

    In float64: the factor may be large where a variance is almost 0.
    """
    weights, bias = values.weights.astype(np.float64), values.bias.astype(np.float64)
    norm = values.normalization
    if norm is None:
        return weights, bias
    factor = norm.scale / np.sqrt(norm.variance.astype(np.float64) + NORMALIZATION_EPSILON)
    return weights * factor[:, None, None, None], bias - norm.mean * factor


class _Convolution(nn.Module):
    """Convolution with the normalisation folded in, then the activation."""

    def __init__(
        self,
        layer: Convolutional,
        values: ConvolutionWeights,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._layer = layer
        self._activation = activation(layer.activation)
        weight, bias = fold(values)
        self.weight = nn.Parameter(
            torch.tensor(weight, dtype=dtype, device=device).to(memory_format=torch.channels_last),
            requires_grad=False,
        )
        self.bias = nn.Parameter(
            torch.tensor(bias, dtype=dtype, device=device), requires_grad=False
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        layer = self._layer
        output = functional.conv2d(
            values,
            self.weight,
            self.bias,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
        )
        return self._activation(output)


class _MaxPool(nn.Module):
    """Maximum with Darknet's padding, of which more may be needed behind than before the map."""

    def __init__(self, layer: MaxPool) -> None:
        super().__init__()
        self._size, self._stride = layer.size, layer.stride
        before = layer.padding // 2
        sides = list(zip(layer.input[1:], layer.output[1:], strict=True))
        # torch pads both sides alike without a copy; where that gives another number of windows,
        # the padding is written out first.
        alike = all(
            (length + 2 * before - layer.size) // layer.stride + 1 == windows
            for length, windows in sides
        )
        down, right = (
            max(0, (windows - 1) * layer.stride + layer.size - before - length)
            for length, windows in sides
        )
        self._padding = before if alike else 0
        self._explicit = None if alike else (before, right, before, down)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self._explicit is not None:
            values = functional.pad(values, self._explicit, value=-torch.inf)
        return functional.max_pool2d(values, self._size, self._stride, self._padding)


class _Route(nn.Module):
    """Earlier feature maps, or one part of each, side by side."""

    def __init__(self, layer: Route) -> None:
        super().__init__()
        self._groups, self._group = layer.groups, layer.group

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        if self._groups > 1:
            maps = tuple(values.chunk(self._groups, dim=1)[self._group] for values in maps)
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)


class _Shortcut(nn.Module):
    """Sum of feature maps, then the activation."""

    def __init__(self, layer: Shortcut) -> None:
        super().__init__()
        self._activation = activation(layer.activation)

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        total = first
        for other in others:
            total = total + other
        return self._activation(total)
