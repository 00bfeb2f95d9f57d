"""Darknet networks computed a second time, in plain numpy and float64, straight from the two files.

Shares no code with the product: its own reading of .cfg and .weights, convolution as a sum over
kernel positions, batch normalisation as written in the paper, one loop per box.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]


class Box(NamedTuple):
    """A box in pixels of the network's input."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    label: int


def propose(cfg: str, weights: Path, image: NDArray[np.uint8]) -> list[Box]:
    """All boxes of one image, uint8 [h, w, 3] BGR, before any is dropped."""
    values = np.fromfile(weights, dtype="<f4")[5:].astype(np.float64)
    position = 0

    def take(*shape: int) -> Map:
        nonlocal position
        part = values[position : position + int(np.prod(shape))]
        position += part.size
        return part.reshape(shape)

    net, *sections = _sections(cfg)
    width, height = int(net[1]["width"]), int(net[1]["height"])
    current: Map = image[:, :, ::-1].transpose(2, 0, 1) / 255.0
    maps: list[Map] = []
    boxes: list[Box] = []
    for index, (name, options) in enumerate(sections):
        size, stride = int(options.get("size", 1)), int(options.get("stride", 1))
        if name == "convolutional":
            filters, groups = int(options["filters"]), int(options.get("groups", 1))
            bias = take(filters)
            norm = take(3, filters) if options.get("batch_normalize") == "1" else None
            kernel = take(filters, len(current) // groups, size, size)
            pad = size // 2 if options.get("pad") == "1" else int(options.get("padding", 0))
            current = _convolve(current, kernel, stride, pad, groups)
            if norm is not None:
                scale, mean, variance = norm[:, :, None, None]
                current = scale * (current - mean) / np.sqrt(variance + 1e-6)
            current = activate(current + bias[:, None, None], options["activation"])
        elif name == "maxpool":
            current = maxpool(current, size, stride)
        elif name == "upsample":
            current = current.repeat(stride, axis=1).repeat(stride, axis=2)
        elif name == "route":
            groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
            sources = [maps[_absolute(text, index)] for text in options["layers"].split(",")]
            current = np.concatenate([np.split(source, groups)[group] for source in sources])
        elif name == "shortcut":
            current = current + maps[_absolute(options["from"], index)]
            current = activate(current, options.get("activation", "linear"))
        elif name == "yolo":
            boxes += _decode(current, options, width, height)
        maps.append(current)
    assert position == values.size
    return boxes


def greedy(boxes: list[Box], score: float, iou: float) -> list[Box]:
    """Duplicates dropped, one box after the other; best first."""
    kept: list[Box] = []
    for box in sorted((box for box in boxes if box.score > score), key=lambda box: -box.score):
        if all(other.label != box.label or overlap(other, box) <= iou for other in kept):
            kept.append(box)
    return kept


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first.x2, second.x2) - max(first.x1, second.x1)
    height = min(first.y2, second.y2) - max(first.y1, second.y1)
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box.x2 - box.x1) * (box.y2 - box.y1) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def _sections(cfg: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for raw in cfg.splitlines():
        line = raw.replace(" ", "")
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif line and not line.startswith("#"):
            key, value = line.split("=")
            found[-1][1][key] = value
    return found


def _absolute(text: str, index: int) -> int:
    number = int(text)
    return number if number >= 0 else index + number


def _convolve(image: Map, kernel: Map, stride: int, pad: int, groups: int) -> Map:
    size = kernel.shape[2]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    height = (padded.shape[1] - size) // stride + 1
    width = (padded.shape[2] - size) // stride + 1
    parts = []
    for source, taps in zip(np.split(padded, groups), np.split(kernel, groups), strict=True):
        total = np.zeros((len(taps), height, width))
        for y in range(size):
            for x in range(size):
                window = source[
                    :, y : y + stride * height : stride, x : x + stride * width : stride
                ]
                total += np.einsum("oc,chw->ohw", taps[:, :, y, x], window)
        parts.append(total)
    return np.concatenate(parts)


def maxpool(image: Map, size: int, stride: int) -> Map:
    before = (size - 1) // 2
    _, height, width = image.shape
    out = np.empty((len(image), (height - 1) // stride + 1, (width - 1) // stride + 1))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            top, left = y * stride - before, x * stride - before
            window = image[:, max(0, top) : top + size, max(0, left) : left + size]
            out[:, y, x] = window.max(axis=(1, 2))
    return out


def activate(values: Map, name: str) -> Map:
    functions: dict[str, Callable[[Map], Map]] = {
        "linear": lambda x: x,
        "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
        "relu": lambda x: np.maximum(x, 0),
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "swish": lambda x: x / (1 + np.exp(-x)),
        "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    }
    return functions[name](values)


def _decode(raw: Map, options: dict[str, str], width: int, height: int) -> list[Box]:
    numbers = [float(text) for text in options["anchors"].split(",")]
    mask = [int(text) for text in options["mask"].split(",")]
    classes, scale = int(options["classes"]), float(options.get("scale_x_y", 1))
    _, rows, columns = raw.shape
    boxes = []
    for row, column, number in np.ndindex(rows, columns, len(mask)):
        first = number * (classes + 5)
        tx, ty, tw, th, objectness, *logits = raw[first : first + classes + 5, row, column]
        x = (column + _logistic(tx) * scale - (scale - 1) / 2) * width / columns
        y = (row + _logistic(ty) * scale - (scale - 1) / 2) * height / rows
        w = np.exp(tw) * numbers[2 * mask[number]] / 2
        h = np.exp(th) * numbers[2 * mask[number] + 1] / 2
        label = int(np.argmax(logits))
        score = _logistic(objectness) * _logistic(logits[label])
        boxes.append(Box(x - w, y - h, x + w, y + h, score, label))
    return boxes


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
