"""Texts of .cfg files: the published networks, rebuilt from their structure, and a small one.

`yolov3_cfg` and `yolov3_tiny_cfg` are the networks of Redmon and Farhadi (arXiv 1804.02767) layer
by layer; their value counts (62,001,757 and 8,858,734 for 80 classes) prove it.
"""

from __future__ import annotations

from collections.abc import Sequence

ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"

ALL_LAYERS_CFG = """
[net]
batch=1
width=32
height=64
channels=3
learning_rate=0.001

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
groups=8
filters=8
size=5
stride=1
pad=1
activation=relu

[convolutional]
filters=8
size=1
stride=1
pad=1
activation=linear

[dropout]
probability=.2

[shortcut]
from=-4
activation=leaky

# 5: half of the channels
[route]
layers=-1
groups=2
group_id=1

[maxpool]
size=2
stride=1

[route]
layers=-2

[maxpool]
size=5
stride=1

[route]
layers=-1,-3,0

[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=mish

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=14
size=1
stride=1
activation=swish

[convolutional]
filters=14
size=1
stride=1
activation=linear

[yolo]
mask=1,2
anchors=8,6, 10,14, 23,20
classes=2
num=3
scale_x_y=1.1

[route]
layers=-3

[upsample]
stride=2

[route]
layers=-1,10

[convolutional]
filters=8
size=3
stride=1
padding=1
activation=logistic

[convolutional]
filters=7
size=1
activation=linear

[yolo]
mask=0
anchors=8,6, 10,14, 23,20
classes=2
num=3
"""
"""Every supported layer and activation once, on a map that is not square."""


def yolov3_cfg(width: int, height: int, classes: int) -> str:
    """YOLO-v3: 107 layers, 75 convolutions, three heads."""
    parts = [_net(width, height), _conv(32, 3)]
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        parts.append(_conv(filters, 3, stride=2))
        for _ in range(blocks):
            parts += [_conv(filters // 2, 1), _conv(filters, 3), _section("shortcut", "from=-3")]
    for filters, mask, source in ((512, "6,7,8", 0), (256, "3,4,5", 61), (128, "0,1,2", 36)):
        if source:
            parts += [
                _section("route", "layers=-4"),
                _conv(filters, 1),
                _section("upsample", "stride=2"),
                _section("route", f"layers=-1,{source}"),
            ]
        parts += [_conv(filters, 1), _conv(2 * filters, 3)] * 3
        parts += _head(mask, ANCHORS, 9, classes)
    return "\n".join(parts)


def yolov3_tiny_cfg(width: int, height: int, classes: int, filters: int = 16) -> str:
    """YOLO-v3-tiny: 24 layers, 13 convolutions, two heads.

    Args:
        width: of the input.
        height: of the input.
        classes: number of classes.
        filters: of the first layer, all others in proportion; 16 in the published network.
    """
    parts = [_net(width, height)]
    for stage in range(6):
        parts.append(_conv(filters << stage, 3))
        parts.append(_section("maxpool", "size=2", f"stride={1 if stage == 5 else 2}"))
    parts += [_conv(filters << 6, 3), _conv(filters << 4, 1), _conv(filters << 5, 3)]
    parts += _head("3,4,5", TINY_ANCHORS, 6, classes)
    parts += [
        _section("route", "layers=-4"),
        _conv(filters << 3, 1),
        _section("upsample", "stride=2"),
        _section("route", "layers=-1,8"),
        _conv(filters << 4, 3),
    ]
    parts += _head("0,1,2", TINY_ANCHORS, 6, classes)
    return "\n".join(parts)


def _section(name: str, *options: str) -> str:
    return "\n".join([f"[{name}]", *options, ""])


def _net(width: int, height: int) -> str:
    return _section(
        "net", "batch=64", "subdivisions=16", f"width={width}", f"height={height}", "channels=3"
    )


def _conv(filters: int, size: int, stride: int = 1) -> str:
    return _section(
        "convolutional",
        "batch_normalize=1",
        f"filters={filters}",
        f"size={size}",
        f"stride={stride}",
        "pad=1",
        "activation=leaky",
    )


def _head(mask: str, anchors: str, number: int, classes: int) -> Sequence[str]:
    return [
        _section("convolutional", "size=1", f"filters={3 * (classes + 5)}", "activation=linear"),
        _section(
            "yolo", f"mask={mask}", f"anchors={anchors}", f"classes={classes}", f"num={number}"
        ),
    ]
