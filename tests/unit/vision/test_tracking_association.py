from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.vision.tracking.association import associate, iou_matrix


def test_overlap_of_known_boxes():
    first = np.array([[0.0, 0.0, 10.0, 10.0]])
    second = np.array(
        [
            [0.0, 0.0, 10.0, 10.0],  # the same
            [5.0, 0.0, 15.0, 10.0],  # half beside it: 50 of 150
            [2.0, 2.0, 4.0, 4.0],  # inside: 4 of 100
            [10.0, 0.0, 20.0, 10.0],  # touching
            [30.0, 30.0, 40.0, 40.0],  # elsewhere
        ]
    )
    np.testing.assert_allclose(iou_matrix(first, second), [[1, 1 / 3, 0.04, 0, 0]])


def test_a_box_turned_inside_out_overlaps_nothing():
    inverted = np.array([[10.0, 10.0, 0.0, 0.0], [10.0, 0.0, 0.0, 10.0], [5.0, 5.0, 5.0, 5.0]])
    overlaps = iou_matrix(inverted, np.array([[0.0, 0.0, 10.0, 10.0]]))
    np.testing.assert_array_equal(overlaps, np.zeros((3, 1)))


def test_no_boxes_have_no_overlaps():
    some = np.array([[0.0, 0.0, 1.0, 1.0]])
    none = np.empty((0, 4))
    assert iou_matrix(none, some).shape == (0, 1)
    assert iou_matrix(some, none).shape == (1, 0)
    for overlaps in (np.empty((0, 0)), np.empty((0, 3)), np.empty((3, 0))):
        rows, columns = associate(overlaps, 0.1)
        assert len(rows) == len(columns) == 0


_coordinates = st.floats(0, 100, width=32)
_boxes = st.lists(
    st.tuples(_coordinates, _coordinates, st.floats(1, 50), st.floats(1, 50)), max_size=6
).map(lambda corners: np.array([(x, y, x + w, y + h) for x, y, w, h in corners]).reshape(-1, 4))


@given(first=_boxes, second=_boxes)
@settings(max_examples=50)
def test_overlap_is_symmetric_and_between_none_and_one(first, second):
    overlaps = iou_matrix(first, second)
    np.testing.assert_array_equal(overlaps, iou_matrix(second, first).T)
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-12)).all()
    np.testing.assert_allclose(np.diagonal(iou_matrix(first, first)), 1)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), columns=st.integers(1, 5))
@settings(max_examples=50)
def test_pairs_are_the_best_of_all_assignments(seed, rows, columns):
    overlaps = np.random.default_rng(seed).random((rows, columns))
    found = associate(overlaps, 1e-9)
    wide = overlaps if rows <= columns else overlaps.T
    best = max(
        sum(wide[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert np.isclose(overlaps[found].sum(), best)
    assert len(found[0]) == min(rows, columns)


def test_the_best_sum_wins_over_the_best_single_pair():
    overlaps = np.array([[0.6, 0.5], [0.5, 0.1]])
    rows, columns = associate(overlaps, 0.1)
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (1, 0)]


def test_pairs_below_the_least_overlap_are_dropped():
    overlaps = np.array([[0.5, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.29]])
    rows, columns = associate(overlaps, 0.3)
    assert list(zip(rows, columns, strict=True)) == [(0, 0), (1, 1)]
