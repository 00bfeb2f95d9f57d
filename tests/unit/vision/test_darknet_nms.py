from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.vision.torch import nms

pytestmark = pytest.mark.torch

# Few different coordinates and scores, so that overlaps, chains and ties are the rule.
BOX = st.tuples(
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.7, 0.9]),
    st.integers(0, 2),
)
ITEM = st.lists(BOX, max_size=24)


def naive(boxes, scores, classes, *, score_threshold, iou_threshold, max_rows):
    """One box after the other, in float32 like the tensors."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > score_threshold:
            continue
        for j in kept:
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            width, height = np.maximum(high - low, np.float32(0))
            areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (boxes[j], boxes[i])]
            both = width * height
            if classes[i] == classes[j] and both > np.float32(iou_threshold) * (sum(areas) - both):
                break
        else:
            kept.append(i)
    return [[*boxes[i], scores[i], classes[i]] for i in kept[:max_rows]]


def padded(items):
    """Arrays [n, b, ...] from ragged items; the padding scores nothing."""
    most = max((len(item) for item in items), default=0)
    table = np.zeros((len(items), most, 6), np.float32)
    for row, item in zip(table, items, strict=True):
        if item:
            row[: len(item)] = item
    table[..., 2:4] += table[..., 0:2]
    return table[..., :4], table[..., 4], table[..., 5].astype(np.int64)


def suppress(boxes, scores, classes, **limits):
    rows, counts = nms.suppress(
        *(torch.from_numpy(np.ascontiguousarray(a)) for a in (boxes, scores, classes)), **limits
    )
    return [found[:count].tolist() for found, count in zip(rows, counts.tolist(), strict=True)]


@settings(max_examples=50, deadline=None)
@given(
    items=st.lists(ITEM, min_size=1, max_size=4),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.99, 1.0]),
    score=st.sampled_from([0.0, 0.25, 0.6]),
    max_rows=st.sampled_from([1, 3, 300]),
)
def test_it_keeps_what_one_box_after_the_other_keeps(items, iou, score, max_rows):
    arrays = padded(items)
    limits = {"score_threshold": score, "iou_threshold": iou, "max_rows": max_rows}
    found = suppress(*arrays, **limits)
    assert found == [naive(*item, **limits) for item in zip(*arrays, strict=True)]


@settings(max_examples=30, deadline=None)
@given(items=st.lists(ITEM, min_size=2, max_size=5), pairs=st.integers(1, 2000))
def test_an_item_is_treated_alike_alone_and_in_any_company(items, pairs):
    arrays = padded(items)
    limits = {"score_threshold": 0.2, "iou_threshold": 0.45, "max_rows": 8}
    together = suppress(*arrays, **limits)
    assert [suppress(*(a[i : i + 1] for a in arrays), **limits)[0] for i in range(len(items))] == (
        together
    )
    with pytest.MonkeyPatch.context() as patch:
        # However the work is cut.
        patch.setattr(nms, "_PAIRS_AT_ONCE", pairs)
        assert suppress(*arrays, **limits) == together


def test_a_chain_of_overlaps_is_followed_to_its_end():
    # Each box overlaps the next alone: every second one survives, after as many rounds as boxes.
    left = np.arange(40, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 6, 0 * left + 10], axis=1)[None]
    scores = np.linspace(0.99, 0.5, 40, dtype=np.float32)[None]
    found = suppress(
        boxes,
        scores,
        np.zeros((1, 40), np.int64),
        score_threshold=0.1,
        iou_threshold=0.15,
        max_rows=300,
    )
    assert [row[0] for row in found[0]] == left[::2].tolist()


def test_boxes_of_different_classes_do_not_suppress_each_other():
    box = np.array([[[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]], np.float32)
    found = suppress(
        box,
        np.array([[0.9, 0.8, 0.7]], np.float32),
        np.array([[4, 7, 4]]),
        score_threshold=0.25,
        iou_threshold=0.45,
        max_rows=300,
    )
    assert [row[5] for row in found[0]] == [4, 7]


def test_no_box_and_a_score_that_is_no_number_give_no_row():
    limits = {"score_threshold": 0.25, "iou_threshold": 0.45, "max_rows": 300}
    none = np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), np.float32), np.zeros((2, 0), np.int64)
    assert suppress(*none, **limits) == [[], []]
    boxes, scores, classes = padded([[(0, 0, 5, 5, np.nan, 0), (0, 0, 5, 5, 0.5, 0)], []])
    assert [len(rows) for rows in suppress(boxes, scores, classes, **limits)] == [1, 0]


def test_of_more_boxes_than_can_take_part_the_best_do():
    count = nms.MAX_CANDIDATES + 500
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 4000, (1, count, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + 3], axis=2)
    scores = generator.permutation(np.linspace(0.3, 0.9, count, dtype=np.float32))[None]
    found = suppress(
        boxes,
        scores,
        np.zeros((1, count), np.int64),
        score_threshold=0.0,
        iou_threshold=1.0,
        max_rows=count,
    )
    assert [row[4] for row in found[0]] == np.sort(scores[0])[::-1][: nms.MAX_CANDIDATES].tolist()


def ahead(boxes, scores, classes, **limits):
    """As `suppress`; None for an item that says that it needs more."""
    tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in (boxes, scores, classes))
    rows, counts = nms.suppress_ahead(*tensors, **limits)
    return [
        None if count < 0 else found[:count].tolist()
        for found, count in zip(rows, counts.tolist(), strict=True)
    ]


@settings(max_examples=50, deadline=None)
@given(
    items=st.lists(ITEM, min_size=1, max_size=4),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.99]),
    max_rows=st.sampled_from([1, 3, 300]),
    candidates=st.integers(1, 30),
    rounds=st.integers(1, 30),
)
def test_without_waiting_it_keeps_the_same_or_says_that_it_needs_more(
    items, iou, max_rows, candidates, rounds
):
    arrays = padded(items)
    limits = {"score_threshold": 0.2, "iou_threshold": iou, "max_rows": max_rows}
    exact = suppress(*arrays, **limits)
    found = ahead(*arrays, **limits, candidates=candidates, rounds=rounds)
    passing = (arrays[1] > 0.2).sum(axis=1)
    for rows, wanted, count in zip(found, exact, passing, strict=True):
        if rows is None:
            # A round makes one more box final, and one more shows that nothing changes.
            assert count > candidates or rounds <= count
        else:
            assert rows == wanted


def test_a_chain_that_is_longer_than_the_rounds_is_not_passed_off_as_followed():
    left = np.arange(40, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 6, 0 * left + 10], axis=1)[None]
    scores = np.linspace(0.99, 0.5, 40, dtype=np.float32)[None]
    arrays = (boxes, scores, np.zeros((1, 40), np.int64))
    limits = {"score_threshold": 0.1, "iou_threshold": 0.15, "max_rows": 300}
    assert ahead(*arrays, **limits, rounds=8) == [None]
    assert ahead(*arrays, **limits, rounds=41) == suppress(*arrays, **limits)


def test_of_boxes_that_suppress_nothing_the_count_is_known_at_once():
    arrays = padded([[(0, 0, 5, 5, 0.5, 0)], []])
    limits = {"score_threshold": 0.25, "iou_threshold": 0.45, "max_rows": 300}
    assert ahead(*arrays, **limits, rounds=1) == suppress(*arrays, **limits)
