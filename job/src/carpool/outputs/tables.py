"""The tables Carpool writes: their columns, and how arrays of a task become rows of them.

The columns are part of what users build on: adding one is a change of the API, and every file of a
table has exactly these, in this order. Positions are pixels of the source frame, times are
nanoseconds of the video's own clock (presentation time stamps), frames count from 0 in presentation
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from carpool.outputs.columns import numbers, texts, to_numpy
from carpool.outputs.layout import TableName


def _column(name: str, kind: Any, *, nullable: bool = False) -> Any:
    return pa.field(name, kind, nullable=nullable)


_DETECTION_COLUMNS: Final = (
    _column("video_uri", pa.string()),
    _column("unit_id", pa.string()),
    _column("frame_index", pa.int64()),
    _column("pts_ns", pa.int64()),
    _column("class_id", pa.int32()),
    _column("class_name", pa.string()),
    _column("score", pa.float32()),
    _column("x1", pa.float32()),
    _column("y1", pa.float32()),
    _column("x2", pa.float32()),
    _column("y2", pa.float32()),
)

DETECTIONS: Final = pa.schema(_DETECTION_COLUMNS)
"""One row per detected object and frame, in frame order."""

TRACKS: Final = pa.schema((*_DETECTION_COLUMNS, _column("track_id", pa.int64())))
"""One row per detection that belongs to a track; track ids are unique within a video."""

TRACK_SUMMARY: Final = pa.schema(
    (
        _column("video_uri", pa.string()),
        _column("track_id", pa.int64()),
        _column("class_id", pa.int32()),
        _column("class_name", pa.string()),
        _column("first_frame", pa.int64()),
        _column("last_frame", pa.int64()),
        _column("first_pts_ns", pa.int64()),
        _column("last_pts_ns", pa.int64()),
        _column("frames", pa.int64()),
        _column("mean_score", pa.float32()),
        _column("first_x", pa.float32()),
        _column("first_y", pa.float32()),
        _column("last_x", pa.float32()),
        _column("last_y", pa.float32()),
    )
)
"""One row per track: its most frequent class, its extent in time, its first and last box centre."""

QUARANTINE: Final = pa.schema(
    (
        _column("unit_id", pa.string()),
        _column("video_uri", pa.string()),
        _column("first_frame", pa.int64()),
        _column("frames", pa.int64(), nullable=True),
        _column("reason", pa.string()),
        _column("message", pa.string()),
        _column("frames_given", pa.int64()),
        _column("frames_expected", pa.int64(), nullable=True),
        _column("time", pa.timestamp("us", tz="UTC")),
    )
)
"""One row per work unit that is set aside; `frames` (the unit's length) and `frames_expected` are
null where no index of the file could be made."""

SCHEMAS: Final[Mapping[TableName, Any]] = {
    "detections": DETECTIONS,
    "tracks": TRACKS,
    "track_summary": TRACK_SUMMARY,
    "quarantine": QUARANTINE,
}


def detections_table(
    *,
    video_uri: str,
    unit_id: str,
    frame_index: NDArray[np.int64],
    pts_ns: NDArray[np.int64],
    rows: NDArray[np.float32],
    class_names: Sequence[str],
) -> Any:
    """Build the `detections` of one unit.

    Args:
        video_uri: the video.
        unit_id: the unit.
        frame_index: int64 [k], the frame of each row, not decreasing.
        pts_ns: int64 [k], the frame's presentation time.
        rows: float32 [k, 6]: x1, y1, x2, y2, score, class id.
        class_names: name of each class id; an id beyond it is named by its number.

    Returns:
        A `pyarrow.Table` with the columns `DETECTIONS`.

    Raises:
        ValueError: the arrays do not belong together.
    """
    count = len(rows)
    if rows.shape != (count, 6) or frame_index.shape != (count,) or pts_ns.shape != (count,):
        raise ValueError(
            f"rows {rows.shape}, frame_index {frame_index.shape} and pts_ns {pts_ns.shape} "
            "must be [k, 6], [k] and [k]"
        )
    classes = rows[:, 5].astype(np.int32)
    columns = {
        "video_uri": _repeated(video_uri, count),
        "unit_id": _repeated(unit_id, count),
        "frame_index": numbers(frame_index, pa.int64()),
        "pts_ns": numbers(pts_ns, pa.int64()),
        "class_id": numbers(classes, pa.int32()),
        "class_name": _class_names(classes, class_names),
        "score": numbers(rows[:, 4], pa.float32()),
    }
    for position, name in enumerate(("x1", "y1", "x2", "y2")):
        columns[name] = numbers(rows[:, position], pa.float32())
    return pa.table(columns, schema=DETECTIONS)


def tracks_table(detections: Any, track_ids: NDArray[np.int64]) -> Any:
    """Build the `tracks` rows of detections that a tracker has seen.

    Args:
        detections: a `pyarrow.Table` with the columns `DETECTIONS`.
        track_ids: int64 [k], one per row; -1 where the row belongs to no track.

    Returns:
        A `pyarrow.Table` with the columns `TRACKS` and the rows that belong to a track, in order.

    Raises:
        ValueError: not one id per row.
    """
    if track_ids.shape != (detections.num_rows,):
        raise ValueError(f"{detections.num_rows} rows, but track ids of shape {track_ids.shape}")
    with_ids = detections.append_column(TRACKS.field("track_id"), numbers(track_ids, pa.int64()))
    tracked = numbers(np.flatnonzero(track_ids >= 0), pa.int64())
    return with_ids.take(tracked).cast(TRACKS)


def rows_of(table: Any) -> NDArray[np.float32]:
    """The inverse of `detections_table` for its boxes: float32 [k, 6] as a tracker takes them.

    Args:
        table: a `pyarrow.Table` with the columns `DETECTIONS` (or `TRACKS`).

    Returns:
        float32 [k, 6]: x1, y1, x2, y2, score, class id.
    """
    rows = np.empty((table.num_rows, 6), np.float32)
    for position, name in enumerate(("x1", "y1", "x2", "y2", "score", "class_id")):
        rows[:, position] = to_numpy(table.column(name))
    return rows


def _repeated(text: str, count: int) -> Any:
    return texts([text], np.zeros(count, np.int64))


def _class_names(classes: NDArray[np.int32], class_names: Sequence[str]) -> Any:
    known, positions = np.unique(classes, return_inverse=True)
    names = [
        class_names[index] if 0 <= index < len(class_names) else str(index)
        for index in known.tolist()
    ]
    return texts(names, positions)
