"""Precision and recall of a detector against a scene's ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from carpool.synth.truth import TruthBox

MIN_VISIBILITY = 0.7
MIN_HEIGHT = 12


@dataclass(slots=True)
class DetectionScore:
    """Counts over frames; boxes too small or too hidden count neither for nor against."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0

    @property
    def precision(self) -> float:
        return self.hits / max(self.hits + self.false_alarms, 1)

    @property
    def recall(self) -> float:
        return self.hits / max(self.hits + self.misses, 1)

    def add(self, rows: NDArray[np.float32], truth: Sequence[TruthBox]) -> None:
        """Count one frame: greedy matching at IoU 0.5 within a class, best visible first."""
        free = list(range(len(rows)))
        hidden = []
        for box in sorted(truth, key=lambda box: -box.visibility):
            corners = np.array((box.x1, box.y1, box.x2, box.y2))
            evaluated = box.visibility >= MIN_VISIBILITY and box.y2 - box.y1 >= MIN_HEIGHT
            if not evaluated:
                hidden.append(corners)
            matches = {
                row: iou
                for row in free
                if int(rows[row, 5]) == box.class_id
                and (iou := _iou(rows[row, :4].astype(float), corners)) >= 0.5
            }
            if matches:
                free.remove(max(matches, key=lambda row: matches[row]))
            if evaluated:
                self.hits += bool(matches)
                self.misses += not matches
        for row in free:
            found = rows[row, :4].astype(float)
            ignored = any(_common(found, other) > 0.5 * _area(found) for other in hidden)
            self.false_alarms += not ignored and found[3] - found[1] >= MIN_HEIGHT


def _area(box: NDArray[np.float64]) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def _common(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    return _area(np.concatenate((low, high)))


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    common = _common(one, other)
    return common / (_area(one) + _area(other) - common)
