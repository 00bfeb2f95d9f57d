"""From the text of a Darknet .cfg to a network with known shapes.

Supported is what YOLO-v3, YOLO-v3-tiny, YOLO-v3-spp, YOLO-v4, YOLO-v4-tiny and YOLO-Fastest are
made of. What must stay true: an option either has the meaning that Darknet gives it, or is listed
in `options` as one that does not change what a trained network computes, or ends in an error.
Nothing is skipped in silence: a network that runs and is wrong costs more than one that does not.

Meaning and defaults of the options: `parser.c` and the layers' own files in
github.com/AlexeyAB/darknet, of which pjreddie's original is a subset.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from carpool.errors import ModelFormatError, ModelNotFound
from carpool.vision.darknet import options
from carpool.vision.darknet.layers import (
    ACTIVATIONS,
    Activation,
    Convolutional,
    Dropout,
    Layer,
    MaxPool,
    Network,
    Route,
    Shape,
    Shortcut,
    Upsample,
    Yolo,
)
from carpool.vision.darknet.sections import read_sections
from carpool.vision.detector_parameters import MAX_INPUT_SIDE, MIN_INPUT_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carpool.vision.darknet.sections import Section

MAX_CHANNELS = 1 << 16
MAX_KERNEL = 255
MAX_STRIDE = 32
"""Bounds that no real network reaches; they keep a damaged file from asking for all memory."""


def read_network(path: Path, input_size: tuple[int, int] | None = None) -> Network:
    """Read a .cfg file.

    Args:
        path: the file.
        input_size: (height, width) to use instead of those in the file.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no text, or not a network that is supported.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ModelNotFound(f"model {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{path}: is no text, expected a Darknet .cfg") from error
    return parse_network(text, path.name, input_size)


def parse_network(text: str, source: str, input_size: tuple[int, int] | None = None) -> Network:
    """Parse the text of a .cfg.

    Args:
        text: content of the file.
        source: name of the file, for messages.
        input_size: (height, width) to use instead of those in the file.

    Raises:
        ModelFormatError: names file and line, section, option, what was found and is expected.
    """
    sections = read_sections(text, source)
    if not sections or sections[0].name != "net":
        found = f"[{sections[0].name}]" if sections else "nothing"
        line = sections[0].line if sections else 1
        raise ModelFormatError(f"{source}:{line}: found {found}, expected [net] first")
    shape, letterbox = _net(sections[0], input_size)
    layers: list[Layer] = []
    for section in sections[1:]:
        build = _BUILDERS.get(section.name)
        if build is None:
            raise ModelFormatError(
                f"{source}:{section.line}: found [{section.name}], "
                f"expected one of {', '.join(f'[{name}]' for name in sorted(_BUILDERS))}"
            )
        before = layers[-1].output if layers else shape
        layers.append(build(section, before, layers))
    network = Network(source, shape, letterbox, tuple(layers))
    if not network.heads:
        raise ModelFormatError(f"{source}: found no [yolo] section, expected at least one")
    for section, layer in zip(sections[1:], layers, strict=True):
        if isinstance(layer, Yolo) and layer.classes != network.classes:
            raise section.error(
                "classes", layer.classes, f"{network.classes} as in the first [yolo]"
            )
    return network


def _net(section: Section, input_size: tuple[int, int] | None) -> tuple[Shape, bool]:
    """The network's input, and whether it wants letterboxed frames."""
    height = section.integer("height", None, MIN_INPUT_SIDE, MAX_INPUT_SIDE)
    width = section.integer("width", None, MIN_INPUT_SIDE, MAX_INPUT_SIDE)
    channels = section.integer("channels", None, 3, 3)
    letterbox = section.flag("letter_box")
    section.finish(options.NET_IGNORED, {"inputs": str(height * width * channels)})
    if input_size is not None:
        height, width = input_size
    return Shape(channels, height, width), letterbox


def _convolutional(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    filters = section.integer("filters", 1, 1, MAX_CHANNELS)
    size = section.integer("size", 1, 1, MAX_KERNEL)
    stride = section.integer("stride", 1, 1, MAX_STRIDE)
    padding = section.integer("padding", 0, 0, MAX_KERNEL)
    if section.flag("pad"):
        padding = size // 2
    groups = section.integer("groups", 1, 1, MAX_CHANNELS)
    normalize = section.flag("batch_normalize")
    activation = _activation(section, "logistic")
    section.finish(options.CONVOLUTIONAL_IGNORED, options.CONVOLUTIONAL_NEUTRAL)
    if before.channels % groups or filters % groups:
        raise section.error(
            "groups",
            groups,
            f"a divisor of the {before.channels} channels before it and of filters={filters}",
        )
    output = Shape(
        filters,
        _windows(section, before.height, 2 * padding, size, stride),
        _windows(section, before.width, 2 * padding, size, stride),
    )
    return Convolutional(
        index=len(layers),
        line=section.line,
        input=before,
        output=output,
        size=size,
        stride=stride,
        padding=padding,
        groups=groups,
        batch_normalize=normalize,
        activation=activation,
    )


def _maxpool(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    stride = section.integer("stride", 1, 1, MAX_STRIDE)
    size = section.integer("size", stride, 1, MAX_KERNEL)
    # More padding than this, and a window would see nothing but padding.
    padding = section.integer("padding", size - 1, 0, size - 1)
    section.finish(options.LAYER_IGNORED, options.MAXPOOL_NEUTRAL)
    output = Shape(
        before.channels,
        _windows(section, before.height, padding, size, stride),
        _windows(section, before.width, padding, size, stride),
    )
    return MaxPool(len(layers), section.line, before, output, size, stride, padding)


def _upsample(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    stride = section.integer("stride", 2, 1, MAX_STRIDE)
    section.finish(options.LAYER_IGNORED, options.UPSAMPLE_NEUTRAL)
    output = Shape(before.channels, before.height * stride, before.width * stride)
    return Upsample(len(layers), section.line, before, output, stride)


def _route(section: Section, _before: Shape, layers: Sequence[Layer]) -> Layer:
    sources = _sources(section, "layers", len(layers))
    shapes = [layers[source].output for source in sources]
    groups = section.integer("groups", 1, 1, MAX_CHANNELS)
    group = section.integer("group_id", 0, 0, groups - 1)
    section.finish(options.LAYER_IGNORED, options.LAYER_NEUTRAL)
    if len({shape[1:] for shape in shapes}) > 1:
        raise section.error(
            "layers",
            " and ".join(map(str, shapes)),
            "equal widths and heights (is the network's input a multiple of its largest stride, "
            "commonly 32?)",
        )
    if any(shape.channels % groups for shape in shapes):
        raise section.error(
            "groups", groups, f"a divisor of the channels of {' and '.join(map(str, shapes))}"
        )
    channels = sum(shape.channels for shape in shapes) // groups
    output = shapes[0]._replace(channels=channels)
    return Route(len(layers), section.line, shapes[0], output, sources, groups, group)


def _shortcut(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    sources = _sources(section, "from", len(layers))
    activation = _activation(section, "linear")
    section.finish(options.LAYER_IGNORED, options.SHORTCUT_NEUTRAL)
    for source in sources:
        if layers[source].output != before:
            raise section.error(
                "from",
                f"layer {source} of {layers[source].output}",
                f"a layer of {before} like the one before",
            )
    return Shortcut(len(layers), section.line, before, before, sources, activation)


def _dropout(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    section.finish(options.DROPOUT_IGNORED, options.LAYER_NEUTRAL)
    return Dropout(len(layers), section.line, before, before)


def _yolo(section: Section, before: Shape, layers: Sequence[Layer]) -> Layer:
    classes = section.integer("classes", 20, 1, MAX_CHANNELS)
    total = section.integer("num", 1, 1, MAX_CHANNELS)
    values = section.numbers("anchors")
    if len(values) != 2 * total:
        raise section.error(
            "anchors", f"{len(values)} numbers", f"{2 * total}: width and height for num={total}"
        )
    anchors = tuple(zip(values[0::2], values[1::2], strict=True))
    mask = section.integers("mask") if section.has("mask") else tuple(range(total))
    if any(not 0 <= number < total for number in mask):
        raise section.error(
            "mask", ", ".join(map(str, mask)), f"numbers of anchors, 0 to {total - 1}"
        )
    scale_x_y = section.number("scale_x_y", 1.0, 1.0)
    section.finish(options.YOLO_IGNORED, options.YOLO_NEUTRAL)
    if before.channels != len(mask) * (classes + 5):
        raise section.error(
            "classes",
            classes,
            f"{len(mask)} boxes x ({classes} classes + 5) = {len(mask) * (classes + 5)} filters "
            f"in the layer before, which has {before.channels}",
        )
    return Yolo(
        index=len(layers),
        line=section.line,
        input=before,
        output=before,
        anchors=tuple(anchors[number] for number in mask),
        classes=classes,
        scale_x_y=scale_x_y,
    )


_BUILDERS: Mapping[str, Callable[[Section, Shape, Sequence[Layer]], Layer]] = {
    "convolutional": _convolutional,
    "dropout": _dropout,
    "maxpool": _maxpool,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "yolo": _yolo,
}


def _activation(section: Section, default: str) -> Activation:
    return cast("Activation", section.choice("activation", default, ACTIVATIONS))


def _sources(section: Section, option: str, index: int) -> tuple[int, ...]:
    """Absolute indices of earlier layers; negative numbers in the file count backwards."""
    given = section.integers(option)
    sources = tuple(number if number >= 0 else index + number for number in given)
    if any(not 0 <= source < index for source in sources):
        raise section.error(
            option, ", ".join(map(str, given)), f"earlier layers: {-index} to {index - 1}"
        )
    return sources


def _windows(section: Section, length: int, padding: int, size: int, stride: int) -> int:
    """How many windows fit along one side."""
    reach = length + padding - size
    if reach < 0:
        raise section.error("size", size, f"at most {length + padding}, the padded map before it")
    return reach // stride + 1
