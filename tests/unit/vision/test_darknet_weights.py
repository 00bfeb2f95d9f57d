from __future__ import annotations

import struct

import numpy as np
import pytest

from carpool.errors import ModelFormatError, ModelNotFound
from carpool.vision.darknet.cfg import parse_network
from carpool.vision.darknet.random_weights import random_weights
from carpool.vision.darknet.weights import read_weights, value_count, write_weights
from support.darknet_cfgs import ALL_LAYERS_CFG, yolov3_tiny_cfg

NETWORK = parse_network(ALL_LAYERS_CFG, "all.cfg")
CONVOLUTIONS, VALUES, BYTES = 8, 3301, 20 + 4 * 3301


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "all.weights"
    write_weights(path, random_weights(NETWORK, seed=1), seen=32_013_312)
    return path


def arrays(weights):
    for layer in weights:
        yield layer.bias
        if layer.normalization is not None:
            yield from (
                layer.normalization.scale,
                layer.normalization.mean,
                layer.normalization.variance,
            )
        yield layer.weights


@pytest.mark.parametrize("text", [ALL_LAYERS_CFG, yolov3_tiny_cfg(96, 64, 3, filters=2)])
def test_what_is_written_is_read_again(tmp_path, text):
    network = parse_network(text, "a.cfg")
    written = random_weights(network, seed=7)
    write_weights(tmp_path / "a.weights", written)
    found = read_weights(tmp_path / "a.weights", network)
    for first, second in zip(arrays(written), arrays(found), strict=True):
        assert second.dtype == np.float32
        np.testing.assert_array_equal(first, second)


def test_values_lie_in_the_file_as_darknet_writes_them(weights_file):
    raw = weights_file.read_bytes()
    assert struct.unpack("<3iQ", raw[:20]) == (0, 2, 5, 32_013_312)
    values = np.frombuffer(raw[20:], "<f4")
    first = read_weights(weights_file, NETWORK)[0]
    assert first.normalization is not None
    np.testing.assert_array_equal(values[0:8], first.bias)
    np.testing.assert_array_equal(values[8:16], first.normalization.scale)
    np.testing.assert_array_equal(values[16:24], first.normalization.mean)
    np.testing.assert_array_equal(values[24:32], first.normalization.variance)
    np.testing.assert_array_equal(values[32 : 32 + 8 * 3 * 9], first.weights.reshape(-1))
    assert value_count(NETWORK) == VALUES


def test_the_short_header_of_version_0_1_is_read(tmp_path, weights_file):
    old = tmp_path / "old.weights"
    old.write_bytes(struct.pack("<3iI", 0, 1, 0, 5) + weights_file.read_bytes()[20:])
    for first, second in zip(
        arrays(read_weights(old, NETWORK)), arrays(read_weights(weights_file, NETWORK)), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_equal_seeds_give_equal_values_and_others_do_not():
    first, again, other = (list(arrays(random_weights(NETWORK, seed))) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[-1], other[-1])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda raw: raw[:-4], f"{BYTES - 4} bytes ({VALUES - 1} values)"),
        (lambda raw: raw[:-1], f"{BYTES - 1} bytes ({VALUES - 1} values)"),
        (lambda raw: raw + b"\0\0\0\0", f"{BYTES + 4} bytes ({VALUES + 1} values)"),
        (lambda raw: raw[:16], "16 bytes (0 values)"),
    ],
)
def test_a_file_of_another_size_is_refused_with_both_sizes(weights_file, change, found):
    weights_file.write_bytes(change(weights_file.read_bytes()))
    with pytest.raises(ModelFormatError) as caught:
        read_weights(weights_file, NETWORK)
    assert str(caught.value) == (
        f"all.weights: found {found}, expected {BYTES} bytes ({VALUES} values) for the "
        f"{CONVOLUTIONS} convolutions of all.cfg: the file is damaged, or belongs to another .cfg"
    )


def test_a_file_without_a_whole_header_is_refused(weights_file):
    weights_file.write_bytes(b"\0" * 11)
    with pytest.raises(ModelFormatError) as caught:
        read_weights(weights_file, NETWORK)
    assert str(caught.value) == "all.weights: found 11 bytes, expected a header of 20"


def test_a_file_of_another_kind_is_refused(weights_file):
    weights_file.write_bytes(b"PK\x03\x04" + weights_file.read_bytes())
    with pytest.raises(ModelFormatError, match="the file is no Darknet"):
        read_weights(weights_file, NETWORK)


@pytest.mark.parametrize(
    ("position", "value", "found"),
    [
        (0, np.nan, "values that are NaN or infinite, expected finite ones"),
        (40, np.inf, "values that are NaN or infinite, expected finite ones"),
        (24, -0.5, "a variance of -0.5, expected none below 0"),
    ],
)
def test_values_that_no_training_gives_are_refused(weights_file, position, value, found):
    raw = bytearray(weights_file.read_bytes())
    raw[20 + 4 * position : 24 + 4 * position] = struct.pack("<f", value)
    weights_file.write_bytes(raw)
    with pytest.raises(ModelFormatError) as caught:
        read_weights(weights_file, NETWORK)
    assert str(caught.value) == (
        f"all.weights: convolution at all.cfg:9: found {found}: "
        "the file is damaged, or belongs to another .cfg"
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match="no such file"):
        read_weights(tmp_path / "none.weights", NETWORK)
