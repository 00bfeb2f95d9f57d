"""One row per track, gathered while the rows of a video pass by.

Rows come in frame order, part by part; the result must not depend on where the parts begin. So the
sum of scores is one left-to-right sum over all rows of a track, never a sum of partial sums.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from carpool.outputs.columns import numbers, table_of, to_numpy
from carpool.outputs.tables import TRACK_SUMMARY

_Sighting = tuple[int, int, float, float]
"""Frame index, pts in nanoseconds, and the box centre x, y."""


@dataclass(slots=True)
class _Track:
    first: _Sighting
    last: _Sighting
    score_sum: float = 0.0
    classes: Counter[int] = field(default_factory=Counter)


class SummaryBuilder:
    """Gathers the `track_summary` of one video."""

    def __init__(self, video_uri: str) -> None:
        self._video_uri = video_uri
        self._tracks: dict[int, _Track] = {}
        self._class_names: dict[int, str] = {}

    def add(self, part: Any) -> None:
        """Take the next rows of the video.

        Args:
            part: a `pyarrow.Table` with the columns of `tracks`; frames do not decrease, neither
                within a part nor from part to part.
        """
        if not part.num_rows:
            return
        ids, first, inverse = np.unique(
            _numpy(part, "track_id"), return_index=True, return_inverse=True
        )
        last = np.empty(len(ids), np.int64)
        last[inverse] = np.arange(part.num_rows)  # the last assignment stands
        classes = _numpy(part, "class_id")
        self._learn_names(part, classes)
        sightings = _sightings(part)
        known = [self._tracks.get(track_id) for track_id in ids.tolist()]
        sums = _continued_sums(
            np.array([track.score_sum if track else 0.0 for track in known]),
            inverse,
            _numpy(part, "score"),
        )
        for position, track_id in enumerate(ids.tolist()):
            track = self._tracks.get(track_id)
            if track is None:
                begin = sightings(first[position])
                track = self._tracks[track_id] = _Track(first=begin, last=begin)
            track.last = sightings(last[position])
            track.score_sum = float(sums[position])
        pairs, counts = np.unique(np.stack((inverse, classes)), axis=1, return_counts=True)
        for (position, class_id), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self._tracks[int(ids[position])].classes[class_id] += count

    def finish(self) -> Any:
        """The summary: a `pyarrow.Table` with the columns `TRACK_SUMMARY`, by track id.

        A track's class is the one most of its rows have, of equals the lowest.
        """
        rows = [self._row(track_id, self._tracks[track_id]) for track_id in sorted(self._tracks)]
        return table_of(rows, TRACK_SUMMARY)

    def _row(self, track_id: int, track: _Track) -> dict[str, Any]:
        frames = track.classes.total()
        class_id = min(track.classes, key=lambda each: (-track.classes[each], each))
        first_frame, first_pts_ns, first_x, first_y = track.first
        last_frame, last_pts_ns, last_x, last_y = track.last
        return {
            "video_uri": self._video_uri,
            "track_id": track_id,
            "class_id": class_id,
            "class_name": self._class_names[class_id],
            "first_frame": first_frame,
            "last_frame": last_frame,
            "first_pts_ns": first_pts_ns,
            "last_pts_ns": last_pts_ns,
            "frames": frames,
            "mean_score": track.score_sum / frames,
            "first_x": first_x,
            "first_y": first_y,
            "last_x": last_x,
            "last_y": last_y,
        }

    def _learn_names(self, part: Any, classes: NDArray[np.int32]) -> None:
        class_ids, positions = np.unique(classes, return_index=True)
        names = part.column("class_name").take(numbers(positions, pa.int64())).to_pylist()
        self._class_names.update(zip(class_ids.tolist(), names, strict=True))


def _numpy(part: Any, column: str) -> NDArray[Any]:
    return to_numpy(part.column(column))


def _sightings(part: Any) -> Any:
    frames, times = _numpy(part, "frame_index"), _numpy(part, "pts_ns")
    x = (_numpy(part, "x1") + _numpy(part, "x2")) / 2
    y = (_numpy(part, "y1") + _numpy(part, "y2")) / 2

    def sighting(row: int) -> _Sighting:
        return int(frames[row]), int(times[row]), float(x[row]), float(y[row])

    return sighting


def _continued_sums(
    so_far: NDArray[np.float64], inverse: NDArray[np.int64], values: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Add values to running sums one after the other, as if there had been no parts.

    `bincount` adds in the order of its input, so each running sum goes first.
    """
    order = np.concatenate((np.arange(len(so_far)), inverse))
    return np.bincount(order, np.concatenate((so_far, values))).astype(np.float64)
