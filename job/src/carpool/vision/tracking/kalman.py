"""Constant-velocity Kalman filters of all tracks of a video, advanced together.

The state of a track is its box (x1, y1, x2, y2) and the velocity of each of the four coordinates,
in units per frame. The four coordinates move independently and carry the same noise, so one 2x2
covariance, of a coordinate and its velocity, stands for all of them; it does not even depend on
the boxes, only on which frames the track was found in. That makes the filter a few element-wise
operations. This must stay so: without a matrix product nothing depends on a BLAS library or its
threads, and the same boxes give the same bits on every machine.

Equations: R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Only the ratios of these matter: scaling all of them changes no estimate. They are those of the
# `trackers` package, for parity; its box and velocity start with equal doubt.
_INITIAL_VARIANCE = 1.0
_PROCESS_VARIANCE = 0.01
_MEASUREMENT_VARIANCE = 0.1

_BOX, _VELOCITY = 0, 1
_BOX_VARIANCE, _COVARIANCE, _VELOCITY_VARIANCE = 0, 1, 2


class BoxFilters:
    """One filter a track; a track is its position in the arrays, which keep the order of `add`."""

    __slots__ = ("_covariances", "_means")

    def __init__(self) -> None:
        self._means: NDArray[np.float64] = np.empty((0, 2, 4))
        self._covariances: NDArray[np.float64] = np.empty((0, 3))

    def __len__(self) -> int:
        return len(self._means)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The estimated boxes, [n, 4]; a view, valid until the next call of a method."""
        return self._means[:, _BOX]

    def add(self, boxes: NDArray[np.float64]) -> None:
        """Begin a filter, at rest, for each of the boxes, [m, 4]."""
        means = np.zeros((len(boxes), 2, 4))
        means[:, _BOX] = boxes
        covariances = np.zeros((len(boxes), 3))
        covariances[:, [_BOX_VARIANCE, _VELOCITY_VARIANCE]] = _INITIAL_VARIANCE
        self._means = np.concatenate((self._means, means))
        self._covariances = np.concatenate((self._covariances, covariances))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the filters where `kept`, [n], is false."""
        self._means = self._means[kept]
        self._covariances = self._covariances[kept]

    def predict(self) -> None:
        """Advance all filters by one frame."""
        self._means[:, _BOX] += self._means[:, _VELOCITY]
        box, covariance, velocity = self._covariances.T
        box += 2 * covariance + velocity + _PROCESS_VARIANCE
        covariance += velocity
        velocity += _PROCESS_VARIANCE

    def correct(self, tracks: NDArray[np.int64], boxes: NDArray[np.float64]) -> None:
        """Take in what was measured.

        Args:
            tracks: positions of the filters, [m], each at most once.
            boxes: the box measured for each of them, [m, 4].
        """
        prior = self._covariances[tracks]
        # One gain for a coordinate and one for its velocity: [m, 2].
        gains = prior[:, :_VELOCITY_VARIANCE] / (prior[:, :1] + _MEASUREMENT_VARIANCE)
        residuals = boxes - self._means[tracks, _BOX]
        self._means[tracks] += gains[:, :, np.newaxis] * residuals[:, np.newaxis, :]
        # (1 - gain) times variance is gain times measurement variance; this form cannot turn
        # negative by rounding.
        prior[:, _VELOCITY_VARIANCE] -= gains[:, _VELOCITY] * prior[:, _COVARIANCE]
        prior[:, :_VELOCITY_VARIANCE] = gains * _MEASUREMENT_VARIANCE
        self._covariances[tracks] = prior
