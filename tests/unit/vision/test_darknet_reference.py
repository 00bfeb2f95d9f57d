"""The real network on the real clip against what OpenCV's own Darknet reader found."""

from __future__ import annotations

import numpy as np
import pytest

from support.real_clip import real_detections, reference_detections

pytestmark = [pytest.mark.data, pytest.mark.torch]

CERTAIN = 0.3


def partners(first, second):
    """Which rows of `first` have one in `second`: same class, IoU ≥ 0.9, scores within 0.02."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(rows[:, 2:4] - rows[:, :2]).prod(axis=1) for rows in (first, second)]
    iou = both / (areas[0][:, None] + areas[1][None] - both)
    alike = (first[:, None, 5] == second[None, :, 5]) & (
        np.abs(first[:, None, 4] - second[None, :, 4]) <= 0.02
    )
    return ((iou >= 0.9) & alike).any(axis=1)


def test_the_boxes_are_those_of_the_reference():
    ours, reference = real_detections(10), reference_detections()
    assert len(ours) == len(reference) == 91
    found, expected, extra, given = 0, 0, 0, 0
    for mine, theirs in zip(ours, reference, strict=True):
        certain = theirs[:, 4] >= CERTAIN
        expected += certain.sum()
        found += partners(theirs, mine)[certain].sum()
        sure = mine[:, 4] >= CERTAIN
        given += sure.sum()
        extra += (~partners(mine, theirs))[sure].sum()
    assert expected == 783
    assert found >= 0.99 * expected
    assert extra <= 0.01 * given
