"""Ground truth: what is in each frame, and the two files in which it is kept.

Parquet has the columns of the job's own tables; the text is the format of the MOT Challenge
(Dendorfer et al., "MOT20", arXiv:2003.09003), which trackers' evaluation tools read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carpool.synth.settings import SceneSettings

SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("frame_index", pa.int64(), nullable=False),
        pa.field("pts_ns", pa.int64(), nullable=False),
        pa.field("track_id", pa.int64(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("x2", pa.float32(), nullable=False),
        pa.field("y2", pa.float32(), nullable=False),
        pa.field("visibility", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TruthBox:
    """One vehicle in one frame.

    Attributes:
        track_id: the vehicle, from 1, the same in every frame.
        class_id: index into `carpool.synth.vehicles.CLASS_NAMES`.
        class_name: that name.
        x1: left edge in pixels of the part that can be seen.
        y1: its upper edge.
        x2: its right edge, exclusive.
        y2: its lower edge, exclusive.
        visibility: part of the vehicle that is neither hidden nor outside the picture, 0 to 1.
    """

    track_id: int
    class_id: int
    class_name: str
    x1: float
    y1: float
    x2: float
    y2: float
    visibility: float


def truth_table(
    settings: SceneSettings, video: str, frames: Sequence[Sequence[TruthBox]]
) -> pa.Table:
    """The table of a clip, in the order of frames and track ids.

    Args:
        settings: of the clip; give the times.
        video: the clip's file name.
        frames: the boxes of each frame.
    """
    rows = [
        {
            "video": video,
            "frame_index": index,
            "pts_ns": settings.pts_ns(index),
            "track_id": box.track_id,
            "class_id": box.class_id,
            "class_name": box.class_name,
            "x1": box.x1,
            "y1": box.y1,
            "x2": box.x2,
            "y2": box.y2,
            "visibility": box.visibility,
        }
        for index, boxes in enumerate(frames)
        for box in sorted(boxes, key=lambda box: box.track_id)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a truth table."""
    pq.write_table(table, path)


def write_mot(table: pa.Table, path: Path) -> None:
    """Write a truth table as MOT Challenge text.

    Lines are `frame,id,left,top,width,height,confidence,class,visibility`; frames and classes count
    from 1. Evaluation tools skip other classes than those they look for without a word, so a class
    is always given, never -1.
    """
    lines = [
        f"{row['frame_index'] + 1},{row['track_id']},{row['x1']:g},{row['y1']:g},"
        f"{row['x2'] - row['x1']:g},{row['y2'] - row['y1']:g},"
        f"1,{row['class_id'] + 1},{row['visibility']:.4f}\n"
        for row in table.to_pylist()
    ]
    path.write_text("".join(lines), encoding="ascii")
