"""Random values for a network, for benchmarks and tests.

Speed and memory of a network do not depend on trained values, so a benchmark can run the full
YOLO-v3 without its file. For that the values must behave like trained ones: activations keep their
size through all layers, in half precision too, and a frame gives some boxes, not none or all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carpool.vision.darknet.layers import Dropout, Shortcut, Yolo
from carpool.vision.darknet.weights import BatchNormalization, ConvolutionWeights

if TYPE_CHECKING:
    from carpool.vision.darknet.layers import Convolutional, Layer, Network

SHORTCUT_SCALE = 0.2
"""Scale of what is added to a shortcut: with 1, twenty additions would leave half precision."""

OBJECTNESS_BIAS = -4.0
"""Mean logit of "there is an object": of YOLO-v3's thousands of boxes, none to a few hundred pass a
threshold of 0.25."""

_LEAKY_VARIANCE = 0.376
"""Variance of leaky(x), slope 0.1, for normal x of variance 1 (its mean square is 0.505)."""

_FEW_CHANNELS = 8


def random_weights(network: Network, seed: int) -> tuple[ConvolutionWeights, ...]:
    """Values for every convolution of a network.

    Weights are normal, with a variance that keeps that of the activations (He et al. 2015, arXiv
    1502.01852), and each filter's sum is 0 where it has many channels: feature maps are positive
    on average, and a filter with another sum would be on, or off, in all places of all images.

    Args:
        network: any network that the parser gives.
        seed: the same seed gives the same values.

    Returns:
        One element per convolution, as `read_weights` gives them.
    """
    generator = np.random.default_rng(seed)
    return tuple(_layer(network, layer, generator) for layer in network.convolutions)


def _layer(
    network: Network, layer: Convolutional, generator: np.random.Generator
) -> ConvolutionWeights:
    filters, channels, height, width = layer.weight_shape
    weights = generator.standard_normal(layer.weight_shape, dtype=np.float32)
    variance_before = 0.5
    if channels >= _FEW_CHANNELS:
        weights -= weights.mean(axis=(1, 2, 3), keepdims=True)
        variance_before = _LEAKY_VARIANCE
    weights /= np.float32(np.sqrt(variance_before * channels * height * width))
    bias = 0.1 * generator.standard_normal(filters, dtype=np.float32)
    after = _reader(network, layer)
    if isinstance(after, Yolo):
        bias.reshape(len(after.anchors), after.classes + 5)[:, 4] += OBJECTNESS_BIAS
    if not layer.batch_normalize:
        return ConvolutionWeights(bias, None, weights)
    scale = generator.uniform(0.9, 1.1, filters).astype(np.float32)
    if isinstance(after, Shortcut):
        scale *= np.float32(SHORTCUT_SCALE)
    mean = 0.1 * generator.standard_normal(filters, dtype=np.float32)
    variance = generator.uniform(0.8, 1.2, filters).astype(np.float32)
    return ConvolutionWeights(bias, BatchNormalization(scale, mean, variance), weights)


def _reader(network: Network, layer: Convolutional) -> Layer | None:
    """The next layer that does something."""
    rest = network.layers[layer.index + 1 :]
    return next((after for after in rest if not isinstance(after, Dropout)), None)
