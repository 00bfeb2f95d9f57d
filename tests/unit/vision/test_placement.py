from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import HandlerError
from carpool.vision.resize import PADDING_GREY, Placement, fit

sides = st.integers(8, 300)
modes = st.sampled_from(["Stretch", "Letterbox"])


def to_slot(placement: Placement, rows: np.ndarray) -> np.ndarray:
    """The forward direction, written down independently."""
    scale = np.array((placement.scale_x, placement.scale_y) * 2)
    shift = np.array((placement.left, placement.top) * 2)
    placed = rows.copy()
    placed[:, :4] = rows[:, :4] * scale + shift
    return placed


@given(st.tuples(sides, sides), st.tuples(sides, sides), modes, st.data())
@settings(max_examples=50, deadline=None)
def test_boxes_come_back_to_where_they_were(size, slot_size, mode, data):
    height, width = size
    frame, out = np.zeros((*size, 3), np.uint8), np.empty((*slot_size, 3), np.uint8)
    placement = fit(frame, out, mode)
    x = sorted(data.draw(st.lists(st.floats(0, width, width=32), min_size=2, max_size=2)))
    y = sorted(data.draw(st.lists(st.floats(0, height, width=32), min_size=2, max_size=2)))
    rows = np.array([[x[0], y[0], x[1], y[1], 0.5, 3]], np.float32)
    assert np.allclose(placement.to_source(to_slot(placement, rows)), rows, atol=1e-2)


@given(st.tuples(sides, sides), st.tuples(sides, sides), modes)
@settings(max_examples=50, deadline=None)
def test_the_frame_lies_where_the_placement_says(size, slot_size, mode):
    (height, width), (slot_height, slot_width) = size, slot_size
    out = np.zeros((*slot_size, 3), np.uint8)
    placement = fit(np.full((*size, 3), 250, np.uint8), out, mode)
    x1, x2 = placement.left, placement.left + round(placement.scale_x * width)
    y1, y2 = placement.top, placement.top + round(placement.scale_y * height)
    assert (out[y1:y2, x1:x2] == 250).all()
    out[y1:y2, x1:x2] = PADDING_GREY
    assert (out == PADDING_GREY).all()
    if mode == "Stretch":
        assert (x1, y1, x2, y2) == (0, 0, slot_width, slot_height)
    else:
        assert x2 - x1 == slot_width or y2 - y1 == slot_height


def test_boxes_are_clipped_to_the_frame():
    placement = fit(np.zeros((100, 200, 3), np.uint8), np.empty((50, 50, 3), np.uint8), "Letterbox")
    rows = np.array([[-10, -10, 60, 60, 0.9, 1]], np.float32)
    assert placement.to_source(rows).tolist() == [[0, 0, 200, 100, pytest.approx(0.9), 1]]


def test_no_boxes_give_no_boxes_and_rows_are_not_changed_in_place():
    placement = fit(np.zeros((10, 20, 3), np.uint8), np.empty((50, 50, 3), np.uint8), "Stretch")
    assert placement.to_source(np.empty((0, 6), np.float32)).shape == (0, 6)
    rows = np.ones((1, 6), np.float32)
    placement.to_source(rows)
    assert (rows == 1).all()


def test_writes_into_the_slot_exactly_what_opencv_resizes():
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    slots = np.zeros((3, 64, 96, 3), np.uint8)
    fit(frame, slots[1], "Stretch")
    assert np.array_equal(slots[1], cv2.resize(frame, (96, 64), interpolation=cv2.INTER_LINEAR))
    assert not slots[0].any()
    assert not slots[2].any()


def test_writes_through_a_view_of_a_wider_image():
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    wide = np.zeros((64, 200, 3), np.uint8)
    fit(frame, wide[:, 50:146], "Stretch")
    expected = cv2.resize(frame, (96, 64), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(wide[:, 50:146], expected)
    assert not wide[:, :50].any()
    assert not wide[:, 146:].any()


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::-1], np.s_[:, ::2], np.s_[:, :, ::-1]])
def test_refuses_a_slot_that_opencv_cannot_write_to(view):
    out = np.zeros((64, 96, 3), np.uint8)[view]
    with pytest.raises(HandlerError, match="slot: found strides"):
        fit(np.zeros((10, 10, 3), np.uint8), out, "Stretch")


@pytest.mark.parametrize("mode", ["Stretch", "Letterbox"])
def test_a_frame_of_the_slots_size_is_copied(mode):
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    out = np.empty_like(frame)
    assert fit(frame, out, mode) == Placement(0, 0, 1.0, 1.0, 96, 64)
    assert np.array_equal(out, frame)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_refuses_what_is_no_picture(frame):
    with pytest.raises(HandlerError, match=r"frame: found .* expected uint8 \[H, W, 3\]"):
        fit(frame, np.zeros((8, 8, 3), np.uint8), "Stretch")
    with pytest.raises(HandlerError, match="slot: found"):
        fit(np.zeros((8, 8, 3), np.uint8), frame, "Stretch")
