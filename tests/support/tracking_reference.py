"""The `trackers` package as reference: its ByteTrack at equal parameters, and its metrics.

Import this only after `pytest.importorskip("trackers")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker
from trackers.eval import box_iou, compute_hota_metrics, compute_identity_metrics

from carpool.vision.tracking import ByteTrack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from carpool.vision.tracking import ByteTrackParameters


@dataclass(frozen=True)
class Tracked:
    """Ids and boxes per frame: int64 [n], float64 [n, 4]; truth and results alike."""

    ids: Sequence[NDArray[np.int64]]
    boxes: Sequence[NDArray[np.float64]]

    def tracks(self) -> int:
        """How many different ids there are."""
        return len(np.unique(np.concatenate(self.ids)))


@dataclass(frozen=True)
class Scores:
    """Points, 0 to 100."""

    hota: float
    idf1: float


def reference_tracker(parameters: ByteTrackParameters) -> ByteTrackTracker:
    """The reference with the parameters of ours (it knows no classes)."""
    assert not parameters.class_aware
    return ByteTrackTracker(
        lost_track_buffer=parameters.lost_track_buffer,
        frame_rate=30.0 if parameters.frame_rate is None else parameters.frame_rate,
        track_activation_threshold=parameters.track_activation_threshold,
        minimum_consecutive_frames=parameters.minimum_consecutive_frames,
        minimum_iou_threshold=parameters.minimum_iou_threshold,
        high_conf_det_threshold=parameters.high_conf_det_threshold,
    )


def as_detections(rows: NDArray[np.float32]) -> sv.Detections:
    """Rows in the form the reference takes."""
    return sv.Detections(
        xyxy=rows[:, :4], confidence=rows[:, 4], class_id=rows[:, 5].astype(np.int64)
    )


def track_with_ours(
    detections: Sequence[NDArray[np.float32]], parameters: ByteTrackParameters
) -> Tracked:
    """All rows that have an id, by our tracker."""
    tracker = ByteTrack(parameters)
    ids = [tracker.update(rows) for rows in detections]
    return Tracked(
        [frame[frame >= 0] for frame in ids],
        [
            rows[frame >= 0, :4].astype(np.float64)
            for rows, frame in zip(detections, ids, strict=True)
        ],
    )


def track_with_reference(
    detections: Sequence[NDArray[np.float32]], parameters: ByteTrackParameters
) -> Tracked:
    """All rows that have an id, by the reference."""
    tracker = reference_tracker(parameters)
    results = [tracker.update(as_detections(rows)) for rows in detections]
    ids = [np.asarray(result.tracker_id, dtype=np.int64) for result in results]
    return Tracked(
        [frame[frame >= 0] for frame in ids],
        [
            np.asarray(result.xyxy, dtype=np.float64).reshape(-1, 4)[frame >= 0]
            for result, frame in zip(results, ids, strict=True)
        ],
    )


def score(truth: Tracked, result: Tracked) -> Scores:
    """HOTA and IDF1 of a result; through arrays, since MOT files need a class column."""
    overlaps = [box_iou(true, found) for true, found in zip(truth.boxes, result.boxes, strict=True)]
    return _scores(truth, result, overlaps)


def agreement(one: Tracked, other: Tracked) -> Scores:
    """HOTA and IDF1 of two results of the same detections, each being the other's truth.

    Rows count as the same only if they are the very same detection. 100 means that the two differ
    in the numbering of the ids at most.
    """
    same = [
        (first[:, np.newaxis] == second).all(axis=2).astype(np.float64)
        for first, second in zip(one.boxes, other.boxes, strict=True)
    ]
    return _scores(one, other, same)


def _scores(truth: Tracked, result: Tracked, overlaps: list[NDArray[np.float64]]) -> Scores:
    hota = compute_hota_metrics(list(truth.ids), list(result.ids), overlaps)["HOTA"]
    idf1 = compute_identity_metrics(list(truth.ids), list(result.ids), overlaps)["IDF1"]
    return Scores(100 * hota, 100 * idf1)
