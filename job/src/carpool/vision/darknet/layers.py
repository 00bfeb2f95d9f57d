"""The layers of a Darknet network as plain data, with their shapes worked out.

This is what the parser gives and what weights reader and network builder take. Shapes are part of
it because Darknet's files are not self-describing: the number of values a layer owns in .weights
follows from the channels that reach it. Layers refer to each other by absolute index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Activation = Literal["linear", "leaky", "relu", "logistic", "mish", "swish"]

ACTIVATIONS: tuple[Activation, ...] = ("linear", "leaky", "relu", "logistic", "mish", "swish")
"""The supported activations; leaky has the slope 0.1."""


class Shape(NamedTuple):
    """Size of one item's feature map."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.channels}"


@dataclass(frozen=True, slots=True)
class Layer:
    """What every layer has.

    Attributes:
        index: position among the layers, from 0; [net] is not counted.
        line: line of its section in the .cfg.
        input: shape of what it reads (of the first input where there are several).
        output: shape of what it gives.
    """

    index: int
    line: int
    input: Shape
    output: Shape


@dataclass(frozen=True, slots=True)
class Convolutional(Layer):
    """Convolution, batch normalisation if any, activation.

    Attributes:
        size: side of the square kernel.
        stride: the same in both directions.
        padding: zeros added on each of the four sides.
        groups: `input.channels` and `output.channels` are multiples of it.
        batch_normalize: whether scale, mean and variance belong to it.
        activation: applied last.
    """

    size: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: Activation

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(filters, input channels of a group, size, size), the order of .weights and of torch."""
        return (self.output.channels, self.input.channels // self.groups, self.size, self.size)


@dataclass(frozen=True, slots=True)
class MaxPool(Layer):
    """Maximum over a window.

    Darknet pads by a total that may be odd: the smaller half stands before the map, the rest
    behind. Windows that reach beyond it see only what is inside.

    Attributes:
        size: side of the square window.
        stride: the same in both directions.
        padding: rows, and columns, added in total.
    """

    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Upsample(Layer):
    """Each value repeated `stride` times in both directions."""

    stride: int


@dataclass(frozen=True, slots=True)
class Route(Layer):
    """Outputs of earlier layers, joined along the channels.

    Attributes:
        sources: absolute indices.
        groups: each source is cut along its channels into so many parts ...
        group: ... of which this one, from 0, is taken.
    """

    sources: tuple[int, ...]
    groups: int
    group: int


@dataclass(frozen=True, slots=True)
class Shortcut(Layer):
    """The previous layer's output plus those of earlier layers of the same shape.

    Attributes:
        sources: absolute indices of the others.
        activation: applied to the sum.
    """

    sources: tuple[int, ...]
    activation: Activation


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Nothing, once a network is trained; it counts as a layer all the same."""


@dataclass(frozen=True, slots=True)
class Yolo(Layer):
    """A detection head.

    Attributes:
        anchors: (width, height) in pixels of the network's input, one per box of a cell.
        classes: number of classes.
        scale_x_y: how far a box centre may leave its cell; 1 not at all.
    """

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network.

    Attributes:
        source: name of the .cfg, for messages.
        input: shape of one item, RGB scaled to 0..1.
        letterbox: whether the .cfg asks that frames keep their aspect ratio.
        layers: in the order of the file.
    """

    source: str
    input: Shape
    letterbox: bool
    layers: tuple[Layer, ...]

    @property
    def convolutions(self) -> tuple[Convolutional, ...]:
        """The layers that own values in .weights, in their order there."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolutional))

    @property
    def heads(self) -> tuple[Yolo, ...]:
        """The detection heads, at least one."""
        return tuple(layer for layer in self.layers if isinstance(layer, Yolo))

    @property
    def classes(self) -> int:
        """Number of classes, the same for all heads."""
        return self.heads[0].classes

    @property
    def boxes(self) -> int:
        """Boxes that all heads together propose for one item."""
        return sum(len(head.anchors) * head.input.height * head.input.width for head in self.heads)
