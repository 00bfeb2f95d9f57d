"""ByteTrack: boxes of a video's frames in, track ids out.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022
(arXiv 2110.06864), algorithm 1. Rows of high score are associated with all tracks, rows of low
score with the tracks that are left over: an object that is half hidden keeps its track, while a
low score alone never begins one.

What must stay true: the ids of a frame depend on the rows of this frame and those before it, and
on nothing else. Not on frames to come (the tracker is online), not on how the video was cut (the
caller feeds whole videos), not on the order of the rows within a frame (they are put into an order
of their values first), not on the machine. Memory is bounded by the objects of the last
`buffer_frames` frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carpool.vision.tracking.association import associate, iou_matrix
from carpool.vision.tracking.kalman import BoxFilters
from carpool.vision.tracking.parameters import ByteTrackParameters

NOT_TRACKED = -1
"""The id of a row that belongs to no track, or to none that is confirmed yet."""

_NO_ROWS = np.empty((0, 6), dtype=np.float32)


class ByteTrack:
    """The tracker of one video.

    A track begins with a row of at least `track_activation_threshold` that no other track takes.
    It is confirmed, and has an id from then on, once it was found in `minimum_consecutive_frames`
    frames in a row; missing one before that ends it. A confirmed track that is not found is
    predicted on, and ends after `buffer_frames` missed frames. Ids count from 1 in the order of
    confirmation and are never used twice.
    """

    def __init__(self, parameters: ByteTrackParameters) -> None:
        """Begin a video.

        Args:
            parameters: as checked; `ByteTrackParameters.for_video` fits them to the frame rate.
        """
        self._parameters = parameters
        self._buffer_frames = parameters.buffer_frames
        self._next_id = 1
        # A track is a position in these, in the order of beginning.
        self._filters = BoxFilters()
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._found_frames: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._missed_frames: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._classes: NDArray[np.float32] = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        """Tracks in memory: confirmed or not, found or waiting to be found again."""
        return len(self._ids)

    def update(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Track the rows of the next processed frame.

        To be called for every processed frame in order, also for those without rows.

        Args:
            rows: float32 [k, 6]: x1, y1, x2, y2, score, class. A row that is not finite, or whose
                box has no area, is not tracked and does no harm.

        Returns:
            int64 [k]: the track id of each row, -1 for none.

        Raises:
            ValueError: `rows` is not of that shape.
        """
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise ValueError(f"rows have the shape {rows.shape}, expected (k, 6)")
        row_ids = np.full(len(rows), NOT_TRACKED, dtype=np.int64)
        order = _order_of_values(rows)
        detections = rows[order]
        boxes = detections[:, :4].astype(np.float64)

        self._filters.predict()
        self._missed_frames += 1
        tracks, taken = self._associate(boxes, detections)
        self._filters.correct(tracks, boxes[taken])
        self._found_frames[tracks] += 1
        self._missed_frames[tracks] = 0

        free = np.ones(len(order), dtype=np.bool_)
        free[taken] = False
        beginning = np.flatnonzero(free & self._may_begin(detections[:, 4]))
        tracks = np.concatenate((tracks, len(self) + np.arange(len(beginning))))
        taken = np.concatenate((taken, beginning))
        self._begin(boxes[beginning], detections[beginning, 5])

        self._confirm()
        row_ids[order[taken]] = self._ids[tracks]
        self._forget()
        return row_ids

    def skip(self, frames: int) -> None:
        """Pass over frames of which nothing is known, as if each had no rows.

        The cost does not grow with `frames` beyond `buffer_frames`.

        Raises:
            ValueError: `frames` is negative.
        """
        if frames < 0:
            raise ValueError(f"frames is {frames}, expected 0 or more")
        for _ in range(frames):
            if not len(self):
                return
            self.update(_NO_ROWS)

    def _associate(
        self, boxes: NDArray[np.float64], detections: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Both stages: the tracks that are found and, for each, the detection that it takes."""
        minimum = self._parameters.minimum_iou_threshold
        overlaps = iou_matrix(self._filters.boxes, boxes)
        if self._parameters.class_aware:
            overlaps[self._classes[:, np.newaxis] != detections[:, 5]] = 0.0
        # Detections are in descending order of score.
        high = np.count_nonzero(detections[:, 4] >= self._parameters.high_conf_det_threshold)
        tracks, taken = associate(overlaps[:, :high], minimum)
        if high == len(boxes) or len(tracks) == len(self):
            return tracks, taken
        left = np.ones(len(self), dtype=np.bool_)
        left[tracks] = False
        left_tracks = np.flatnonzero(left)
        more_tracks, more_taken = associate(overlaps[left_tracks, high:], minimum)
        return (
            np.concatenate((tracks, left_tracks[more_tracks])),
            np.concatenate((taken, more_taken + high)),
        )

    def _may_begin(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        parameters = self._parameters
        return (scores >= parameters.track_activation_threshold) & (
            scores >= parameters.high_conf_det_threshold
        )

    def _begin(self, boxes: NDArray[np.float64], classes: NDArray[np.float32]) -> None:
        count = len(boxes)
        if not count:
            return
        self._filters.add(boxes)
        self._ids = np.append(self._ids, np.full(count, NOT_TRACKED))
        self._found_frames = np.append(self._found_frames, np.ones(count, dtype=np.int64))
        self._missed_frames = np.append(self._missed_frames, np.zeros(count, dtype=np.int64))
        self._classes = np.append(self._classes, classes)

    def _confirm(self) -> None:
        """Give ids to tracks that were found often enough, the one that began first first."""
        enough = self._found_frames >= self._parameters.minimum_consecutive_frames
        confirmed = np.flatnonzero(enough & (self._ids == NOT_TRACKED))
        if len(confirmed):
            self._ids[confirmed] = self._next_id + np.arange(len(confirmed))
            self._next_id += len(confirmed)

    def _forget(self) -> None:
        """Drop tracks that waited too long, and unconfirmed ones that missed a frame."""
        allowed = np.where(self._ids == NOT_TRACKED, 0, self._buffer_frames)
        kept = self._missed_frames <= allowed
        if kept.all():
            return
        self._filters.keep(kept)
        self._ids = self._ids[kept]
        self._found_frames = self._found_frames[kept]
        self._missed_frames = self._missed_frames[kept]
        self._classes = self._classes[kept]


def _order_of_values(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of the rows that can be tracked, by descending score, then box, then class."""
    has_area = (rows[:, 0] < rows[:, 2]) & (rows[:, 1] < rows[:, 3])
    usable: NDArray[np.bool_] = np.isfinite(rows).all(axis=1) & has_area
    x1, y1, x2, y2, score, class_id = rows.T
    order = np.lexsort((class_id, y2, x2, y1, x1, -score))
    return order[usable[order]]
