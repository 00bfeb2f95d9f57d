from __future__ import annotations

import pytest

from carpool.errors import ModelFormatError, ModelNotFound
from carpool.vision.darknet.cfg import parse_network, read_network
from carpool.vision.darknet.layers import (
    Convolutional,
    MaxPool,
    Route,
    Shape,
    Shortcut,
    Yolo,
)
from carpool.vision.darknet.weights import value_count
from support.darknet_cfgs import ALL_LAYERS_CFG, yolov3_cfg, yolov3_tiny_cfg

MINIMAL = """[net]
width=32
height=32
channels=3
[convolutional]
filters=6
size=3
stride=1
pad=1
activation=linear
[yolo]
mask=0
anchors=8,6
classes=1
num=1
"""


def changed(old: str, new: str) -> str:
    assert MINIMAL.count(old) == 1
    return MINIMAL.replace(old, new)


def test_yolov3_is_the_published_network():
    network = parse_network(yolov3_cfg(416, 416, 80), "yolov3.cfg")
    assert len(network.layers) == 107
    assert len(network.convolutions) == 75
    assert value_count(network) == 62_001_757
    assert [head.input for head in network.heads] == [
        Shape(255, 13, 13),
        Shape(255, 26, 26),
        Shape(255, 52, 52),
    ]
    assert network.boxes == 10_647
    assert network.heads[0].anchors == ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0))


def test_yolov3_tiny_is_the_published_network():
    network = parse_network(yolov3_tiny_cfg(416, 416, 80), "yolov3-tiny.cfg")
    assert len(network.layers) == 24
    assert value_count(network) == 8_858_734
    assert network.boxes == 2_535
    # The last pooling keeps the size: it pads one row and column, behind the map only.
    last = [layer for layer in network.layers if isinstance(layer, MaxPool)][-1]
    assert (last.stride, last.padding, last.output) == (1, 1, Shape(512, 13, 13))


def test_every_layer_has_the_shape_that_darknet_gives_it():
    network = parse_network(ALL_LAYERS_CFG, "all.cfg")
    assert [str(layer.output) for layer in network.layers] == [
        "16x32x8",
        "16x32x8",
        "16x32x8",
        "16x32x8",
        "16x32x8",
        "16x32x4",
        "16x32x4",
        "16x32x4",
        "16x32x4",
        "16x32x16",
        "8x16x6",
        "4x8x6",
        "4x8x14",
        "4x8x14",
        "4x8x14",
        "4x8x14",
        "8x16x14",
        "8x16x20",
        "8x16x8",
        "8x16x7",
        "8x16x7",
    ]
    depthwise = network.layers[1]
    assert isinstance(depthwise, Convolutional)
    assert (depthwise.groups, depthwise.padding, depthwise.weight_shape) == (8, 2, (8, 1, 5, 5))
    shortcut, half = network.layers[4:6]
    assert isinstance(shortcut, Shortcut)
    assert shortcut.sources == (0,)
    assert isinstance(half, Route)
    assert (half.sources, half.groups, half.group) == ((4,), 2, 1)
    first, second = network.heads
    assert first.anchors == ((10.0, 14.0), (23.0, 20.0))
    assert first.scale_x_y == pytest.approx(1.1)
    assert second.anchors == ((8.0, 6.0),)


def test_another_input_size_gives_other_shapes_of_the_same_network():
    text = yolov3_tiny_cfg(416, 416, 80)
    small = parse_network(text, "yolov3-tiny.cfg", input_size=(160, 320))
    assert small.input == Shape(3, 160, 320)
    assert small.heads[0].input == Shape(255, 5, 10)
    assert value_count(small) == value_count(parse_network(text, "yolov3-tiny.cfg"))


def test_an_input_size_that_does_not_fit_is_refused_with_the_reason():
    with pytest.raises(ModelFormatError) as caught:
        parse_network(yolov3_cfg(416, 416, 80), "yolov3.cfg", input_size=(400, 400))
    assert str(caught.value) == (
        "yolov3.cfg:567: [route] layers: found 26x26x256 and 25x25x512, expected equal widths "
        "and heights (is the network's input a multiple of its largest stride, commonly 32?)"
    )


def test_training_options_change_nothing():
    training = (
        changed("[net]\n", "[net]\nbatch=64\nmomentum=0.9\nsteps=400,450\nscales=.1,.1\n")
        .replace("mask=0\n", "mask=0\njitter=.3\nignore_thresh=.7\nnms_kind=greedynms\n")
        .replace("filters=6\n", "filters=6\nlearning_rate=2\n")
    )
    plain, found = (parse_network(text, "a.cfg") for text in (MINIMAL, training))
    assert [layer.output for layer in plain.layers] == [layer.output for layer in found.layers]
    assert found.heads[0].anchors == plain.heads[0].anchors


def test_neutral_values_of_options_that_are_not_supported_are_accepted():
    text = changed("filters=6\n", "filters=6\ndilation=1\nxnor=0\nreverse=0.0\n")
    assert parse_network(text, "a.cfg").layers[0].output == Shape(6, 32, 32)


def test_a_repeated_option_is_refused_only_where_it_matters():
    assert parse_network(changed("[net]\n", "[net]\nbatch=1\nbatch=64\n"), "a.cfg")
    assert parse_network(changed("filters=6\n", "filters=6\nfilters=6\n"), "a.cfg")


def test_white_space_comments_aliases_and_a_byte_order_mark_are_read_as_darknet_does(tmp_path):
    path = tmp_path / "a.cfg"
    text = MINIMAL.replace("\n", "\r\n").replace("[convolutional]", "  [ conv ]")
    text = text.replace("filters=6", "filters = 6   # six\r\n; a remark\r\n# another")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    network = read_network(path)
    assert isinstance(network.layers[0], Convolutional)
    assert network.layers[0].output == Shape(6, 32, 32)
    assert isinstance(network.layers[1], Yolo)
    assert not network.letterbox


def test_letter_box_is_passed_on():
    assert parse_network(changed("[net]\n", "[net]\nletter_box=1\n"), "a.cfg").letterbox


SECTIONS = "[convolutional], [dropout], [maxpool], [route], [shortcut], [upsample], [yolo]"
SECOND_HEAD = (
    MINIMAL.partition("channels=3\n")[2]
    .replace("filters=6", "filters=7")
    .replace("classes=1", "classes=2")
)


@pytest.mark.parametrize(
    ("text", "place", "found", "expected"),
    [
        ("", "1", "nothing", "[net] first"),
        ("[convolutional]", "1", "[convolutional]", "[net] first"),
        ("width=3", "1", "'width=3' before any section", "[net] first"),
        ("[net", "1", "'[net'", "a section like [net]"),
        (changed("filters=6", "filters 6"), "6", "'filters 6'", "option=value or [section]"),
        (changed("filters=6", "filters="), "6", "'filters='", "option=value or [section]"),
        (changed("[yolo]", "[region]"), "11", "[region]", f"one of {SECTIONS}"),
        (changed("width=32\n", ""), "1: [net] width", "nothing", "a value"),
        (
            changed("width=32", "width=wide"),
            "2: [net] width",
            "'wide'",
            "an integer from 16 to 4096",
        ),
        (changed("channels=3", "channels=1"), "4: [net] channels", "'1'", "3"),
        (
            changed("[net]\n", "[net]\nspeed=11\n"),
            "2: [net] speed",
            "'11'",
            "none: this option is not supported",
        ),
        (
            changed("stride=1", "stride=0"),
            "8: [convolutional] stride",
            "'0'",
            "an integer from 1 to 32",
        ),
        (changed("pad=1", "pad=yes"), "9: [convolutional] pad", "'yes'", "an integer from 0 to 1"),
        (
            changed("activation=linear", "activation=elu"),
            "10: [convolutional] activation",
            "'elu'",
            "one of leaky, linear, logistic, mish, relu, swish",
        ),
        (
            changed("filters=6\n", "filters=6\nfilters=7\n"),
            "7: [convolutional] filters",
            "'7'",
            "one value ('6' stands on line 6)",
        ),
        (
            changed("filters=6\n", "filters=6\ngroups=2\n"),
            "7: [convolutional] groups",
            "2",
            "a divisor of the 3 channels before it and of filters=6",
        ),
        (
            changed("filters=6\n", "filters=6\ndilation=2\n"),
            "7: [convolutional] dilation",
            "'2'",
            "1, all that is supported",
        ),
        (
            changed("size=3", "size=41").replace("pad=1", "pad=0"),
            "7: [convolutional] size",
            "41",
            "at most 32, the padded map before it",
        ),
        (
            changed("filters=6", "filters=7"),
            "14: [yolo] classes",
            "1",
            "1 boxes x (1 classes + 5) = 6 filters in the layer before, which has 7",
        ),
        (
            changed("anchors=8,6", "anchors=8,6,4"),
            "13: [yolo] anchors",
            "3 numbers",
            "2: width and height for num=1",
        ),
        (
            changed("anchors=8,6", "anchors=8,-6"),
            "13: [yolo] anchors",
            "'8,-6'",
            "positive numbers separated by commas",
        ),
        (changed("mask=0", "mask=1"), "12: [yolo] mask", "1", "numbers of anchors, 0 to 0"),
        (
            changed("num=1", "num=1\nnew_coords=1"),
            "16: [yolo] new_coords",
            "'1'",
            "0, all that is supported",
        ),
        (
            changed("num=1", "num=1\nscale_x_y=0.9"),
            "16: [yolo] scale_x_y",
            "'0.9'",
            "a number from 1",
        ),
        (MINIMAL + SECOND_HEAD, "25: [yolo] classes", "2", "1 as in the first [yolo]"),
        (MINIMAL + "[route]\nlayers=-3\n", "17: [route] layers", "-3", "earlier layers: -2 to 1"),
        (
            MINIMAL + "[route]\nlayers=-1;0\n",
            "17: [route] layers",
            "'-1;0'",
            "integers separated by commas",
        ),
        (
            MINIMAL + "[route]\nlayers=0\ngroups=4\n",
            "18: [route] groups",
            "4",
            "a divisor of the channels of 32x32x6",
        ),
        (
            MINIMAL + "[maxpool]\nsize=2\nstride=2\n[shortcut]\nfrom=0\n",
            "20: [shortcut] from",
            "layer 0 of 32x32x6",
            "a layer of 16x16x6 like the one before",
        ),
        (
            MINIMAL + "[shortcut]\nfrom=0\nweights_type=per_channel\n",
            "18: [shortcut] weights_type",
            "'per_channel'",
            "none, all that is supported",
        ),
        (
            MINIMAL + "[maxpool]\nsize=2\npadding=2\n",
            "18: [maxpool] padding",
            "'2'",
            "an integer from 0 to 1",
        ),
        (
            MINIMAL + "[upsample]\nstride=2\nscale=0.5\n",
            "18: [upsample] scale",
            "'0.5'",
            "1, all that is supported",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, place, found, expected):
    with pytest.raises(ModelFormatError) as caught:
        parse_network(text, "a.cfg")
    assert str(caught.value) == f"a.cfg:{place}: found {found}, expected {expected}"


def test_a_network_without_a_head_is_refused():
    with pytest.raises(ModelFormatError) as caught:
        parse_network(MINIMAL.partition("[yolo]")[0], "a.cfg")
    assert str(caught.value) == "a.cfg: found no [yolo] section, expected at least one"


def test_a_missing_file_and_a_binary_file_are_told_apart(tmp_path):
    with pytest.raises(ModelNotFound, match="no such file"):
        read_network(tmp_path / "a.cfg")
    (tmp_path / "b.cfg").write_bytes(b"\x80\x81\xff\x00")
    with pytest.raises(ModelFormatError, match="is no text, expected a Darknet"):
        read_network(tmp_path / "b.cfg")
