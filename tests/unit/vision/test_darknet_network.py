from __future__ import annotations

import numpy as np
import pytest
import torch

from carpool.vision.darknet.cfg import parse_network
from carpool.vision.darknet.layers import ACTIVATIONS, MaxPool
from carpool.vision.darknet.random_weights import random_weights
from carpool.vision.darknet.weights import (
    BatchNormalization,
    ConvolutionWeights,
    write_weights,
)
from carpool.vision.torch.activations import activation
from carpool.vision.torch.darknet_network import DarknetNetwork, _MaxPool, fold
from carpool.vision.torch.yolo_decode import YoloDecode
from support.darknet_cfgs import ALL_LAYERS_CFG, yolov3_cfg, yolov3_tiny_cfg
from support.darknet_reference import activate, maxpool, propose

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
TINY = yolov3_tiny_cfg(96, 64, 3, filters=2)


def built(text, dtype=torch.float32):
    network = parse_network(text, "a.cfg")
    return DarknetNetwork(network, random_weights(network, seed=5), CPU, dtype)


def frames(text, count):
    shape = parse_network(text, "a.cfg").input
    generator = np.random.default_rng(11)
    return generator.integers(0, 256, (count, shape.height, shape.width, 3), dtype=np.uint8)


def run(module, batch):
    with torch.inference_mode():
        return module(torch.from_numpy(batch))


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("text", [ALL_LAYERS_CFG, TINY], ids=["all layers", "tiny"])
def test_boxes_equal_those_of_a_second_implementation(tmp_path, text):
    network = parse_network(text, "a.cfg")
    write_weights(tmp_path / "a.weights", random_weights(network, seed=5))
    batch = frames(text, 2)
    found = run(built(text), batch)
    assert found.boxes.shape == (2, network.boxes, 4)
    for item, image in enumerate(batch):
        expected = propose(text, tmp_path / "a.weights", image)
        np.testing.assert_allclose(
            found.boxes[item], [box[:4] for box in expected], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(
            found.scores[item], [box.score for box in expected], rtol=1e-4, atol=1e-6
        )
        assert found.classes[item].tolist() == [box.label for box in expected]


@pytest.mark.parametrize("text", [ALL_LAYERS_CFG, TINY], ids=["all layers", "tiny"])
def test_a_result_does_not_depend_on_the_companions_nor_on_the_place_in_the_batch(text, threads):
    module = built(text)
    batch = frames(text, 5)
    alone = np.zeros_like(batch)
    alone[3] = batch[1]
    together, moved, apart = (run(module, b) for b in (batch, np.roll(batch, 2, axis=0), alone))
    for name in ("boxes", "scores", "classes"):
        first = getattr(together, name)
        torch.testing.assert_close(getattr(moved, name), first.roll(2, dims=0), rtol=0, atol=0)
        torch.testing.assert_close(getattr(apart, name)[3], first[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_exact_and_independent_of_the_place_in_memory(name):
    values = torch.from_numpy(np.random.default_rng(2).normal(0, 6, 5003).astype(np.float32))
    function = activation(name)
    whole = function(values.clone())
    np.testing.assert_allclose(whole, activate(values.double().numpy(), name), rtol=3e-6, atol=1e-9)
    for start in range(40):
        part = function(values[start : start + 4900].clone())
        torch.testing.assert_close(part, whole[start : start + 4900], rtol=0, atol=0)


def test_activations_stay_finite_far_out():
    far = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4])
    for name in ACTIVATIONS:
        assert torch.isfinite(activation(name)(far.clone())).all()
        assert torch.isfinite(activation(name)(far.half())).all()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [16, 17, 19])
def test_pooling_pads_as_darknet_does(size, stride, length):
    text = f"""[net]
        width={length}
        height=18
        channels=3
        [maxpool]
        size={size}
        stride={stride}
        [convolutional]
        filters=6
        [yolo]
        classes=1
        anchors=1,1"""
    layer = parse_network(text, "a.cfg").layers[0]
    assert isinstance(layer, MaxPool)
    image = np.random.default_rng(3).normal(-5, 1, (3, 18, length)).astype(np.float32)
    found = _MaxPool(layer)(torch.from_numpy(image)[None])[0]
    assert tuple(found.shape) == tuple(layer.output)
    np.testing.assert_array_equal(found, maxpool(image.astype(np.float64), size, stride))


def test_half_precision_gives_boxes_in_float32_close_to_those_of_single_precision():
    batch = frames(TINY, 2)
    single, half = run(built(TINY), batch), run(built(TINY, torch.bfloat16), batch)
    assert half.boxes.dtype == half.scores.dtype == torch.float32
    assert (half.scores - single.scores).abs().max() < 0.05
    assert not torch.equal(half.scores, single.scores)


def test_the_full_yolov3_runs_with_random_values_and_gives_sane_scores():
    # A small input: the point is that 75 layers of random values neither vanish nor explode.
    text = yolov3_cfg(64, 64, 80)
    found = run(built(text), frames(text, 1))
    assert torch.isfinite(found.boxes).all()
    assert 1e-4 < found.scores.mean() < 0.2
    assert found.scores.std() > 1e-4


def test_normalisation_is_folded_with_the_epsilon_of_the_reference():
    # A variance of 0 leaves the epsilon alone: 1e-6 under the root.
    one = np.ones(2, np.float32)
    values = ConvolutionWeights(
        bias=3 * one,
        normalization=BatchNormalization(scale=2 * one, mean=5 * one, variance=0 * one),
        weights=np.ones((2, 1, 1, 1), np.float32),
    )
    weights, bias = fold(values)
    np.testing.assert_allclose(weights.ravel(), [2000, 2000])
    np.testing.assert_allclose(bias, [3 - 5 * 2000] * 2)


def test_a_box_is_never_infinite_and_common_sizes_are_not_touched():
    head = parse_network(ALL_LAYERS_CFG, "a.cfg").heads[1]
    raw = torch.zeros(1, *head.input)
    raw[0, 2, 0, 0], raw[0, 2, 0, 1] = 1e4, 6.0
    boxes = YoloDecode(head, parse_network(ALL_LAYERS_CFG, "a.cfg").input, CPU)(raw).boxes[0]
    assert torch.isfinite(boxes).all()
    sizes = boxes[:2, 2] - boxes[:2, 0]
    assert sizes[0] > 4096
    np.testing.assert_allclose(sizes[1], 8 * np.exp(6), rtol=1e-5)
