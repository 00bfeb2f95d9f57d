from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.vision.tracking.kalman import BoxFilters

_BOX = np.array([[100.0, 50.0, 160.0, 90.0]])


class _TextbookFilter:
    """The same model written with matrices: state (box, velocities), 8 by 8 covariance."""

    def __init__(self, box):
        self.mean = np.concatenate((box, np.zeros(4)))
        self.covariance = np.eye(8)
        self.transition = np.eye(8) + np.eye(8, k=4)
        self.observation = np.eye(4, 8)

    def predict(self):
        self.mean = self.transition @ self.mean
        self.covariance = self.transition @ self.covariance @ self.transition.T + 0.01 * np.eye(8)

    def correct(self, box):
        innovation = self.observation @ self.covariance @ self.observation.T + 0.1 * np.eye(4)
        gain = self.covariance @ self.observation.T @ np.linalg.inv(innovation)
        self.mean = self.mean + gain @ (box - self.observation @ self.mean)
        self.covariance = (np.eye(8) - gain @ self.observation) @ self.covariance


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_estimates_are_those_of_the_textbook_filter(seed, steps):
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 1000, (5, 4))
    filters = BoxFilters()
    filters.add(boxes)
    expected = [_TextbookFilter(box) for box in boxes]
    for _ in range(steps):
        filters.predict()
        for each in expected:
            each.predict()
        found = np.flatnonzero(random.random(5) < 0.6)
        measured = random.uniform(0, 1000, (len(found), 4))
        filters.correct(found, measured)
        for track, box in zip(found, measured, strict=True):
            expected[track].correct(box)
        np.testing.assert_allclose(filters.boxes, [each.mean[:4] for each in expected], rtol=1e-9)


def test_a_new_filter_is_at_rest():
    filters = BoxFilters()
    filters.add(_BOX)
    filters.predict()
    np.testing.assert_array_equal(filters.boxes, _BOX)


def test_a_steady_motion_is_learnt_and_carried_on():
    filters = BoxFilters()
    filters.add(_BOX)
    motion = np.array([3.0, 1.0, 3.5, 1.5])
    for frame in range(1, 40):
        filters.predict()
        filters.correct(np.array([0]), _BOX + frame * motion)
    for _ in range(10):
        filters.predict()
    np.testing.assert_allclose(filters.boxes, _BOX + 49 * motion, atol=0.05)


def test_the_unit_of_the_boxes_does_not_matter():
    random = np.random.default_rng(3)
    pixels, fractions = BoxFilters(), BoxFilters()
    pixels.add(_BOX)
    fractions.add(_BOX / 640)
    for _ in range(20):
        measured = _BOX + random.normal(0, 5, 4)
        pixels.predict()
        fractions.predict()
        pixels.correct(np.array([0]), measured)
        fractions.correct(np.array([0]), measured / 640)
    np.testing.assert_allclose(fractions.boxes * 640, pixels.boxes, rtol=1e-12)


def test_dropping_filters_keeps_the_order_of_the_others():
    filters = BoxFilters()
    filters.add(np.arange(12.0).reshape(3, 4))
    filters.keep(np.array([True, False, True]))
    filters.add(np.full((1, 4), 7.0))
    np.testing.assert_array_equal(filters.boxes[:, 0], [0, 8, 7])
    assert len(filters) == 3


@pytest.mark.parametrize("frames", [1, 10_000])
def test_a_filter_that_waits_long_takes_the_next_box_as_it_is(frames):
    filters = BoxFilters()
    filters.add(_BOX)
    for _ in range(frames):
        filters.predict()
    moved = _BOX + 200.0
    filters.correct(np.array([0]), moved)
    # Waiting makes the prediction doubtful: one frame leaves a twentieth of the residual.
    tolerance = 10.0 if frames == 1 else 1e-6
    np.testing.assert_allclose(filters.boxes, moved, atol=tolerance)
