"""Which frames a contact sheet shows: spread over videos and time, where there is most to see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from carpool.outputs.columns import numbers, to_numpy
from carpool.outputs.folder import OutputFolder
from carpool.outputs.footers import table_files
from carpool.outputs.tables import TRACKS

_COLUMNS: Final = pa.schema(
    [
        TRACKS.field(name).with_nullable(True)
        for name in ("frame_index", "x1", "y1", "x2", "y2", "class_name", "track_id")
    ]
)


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame to show and what was found in it.

    Attributes:
        video_uri: the video.
        frame_index: the frame.
        boxes: float32 [k, 4]: x1, y1, x2, y2.
        class_names: of each box.
        track_ids: int64 [k]; -1 without tracking.
    """

    video_uri: str
    frame_index: int
    boxes: NDArray[np.float32]
    class_names: tuple[str, ...]
    track_ids: NDArray[np.int64]


def frames_to_show(
    folder: OutputFolder, frames: dict[str, int], count: int, every_nth: int = 1
) -> list[ShownFrame]:
    """Pick frames of a result, with their tracks (or detections, where there are no tracks).

    Args:
        folder: the output.
        frames: number of frames by URI of each video that can be shown.
        count: how many frames, at most.
        every_nth: only frames with these indices were looked at.

    Returns:
        Frames by video, then time; only the rows of videos that are shown are read.

    Raises:
        OutputUnavailable: the storage does not answer.
    """
    shown: list[ShownFrame] = []
    paths = _paths_by_video(folder)
    for uri, share in share_out(sorted(uri for uri in frames if frames[uri] > 0), count):
        rows = _rows(folder, paths.get(uri, []))
        found = to_numpy(rows.column("frame_index"))
        shown.extend(
            _shown(uri, index, rows.take(numbers(np.flatnonzero(found == index), pa.int64())))
            for index in pick_frames(frames[uri], found, share, every_nth)
        )
    return shown


def share_out(videos: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Divide the places of a sheet among videos.

    Returns:
        Videos in order, each with its number of places; evenly spaced ones if there are more videos
        than places, else all, the first ones getting what cannot be divided evenly.
    """
    if not videos or count <= 0:
        return []
    if len(videos) >= count:
        return [(videos[(2 * place + 1) * len(videos) // (2 * count)], 1) for place in range(count)]
    share, rest = divmod(count, len(videos))
    return [(video, share + (place < rest)) for place, video in enumerate(videos)]


def pick_frames(frames: int, found: NDArray[np.int64], count: int, every_nth: int = 1) -> list[int]:
    """Pick frames of one video: one from each of `count` equal parts of it.

    Of a part, the frame with the most objects is taken, of equals the one nearest to the middle;
    frames of its middle half go before those at its ends, so that neighbours do not look alike.

    Args:
        frames: how many the video has.
        found: int64 [k], the frame of each object.
        count: how many to pick, at most.
        every_nth: only frames with these indices were looked at.

    Returns:
        Frame indices, increasing.
    """
    indices, objects = np.unique(found, return_counts=True)
    picked = set()
    for part in range(count):
        begin, end = part * frames / count, (part + 1) * frames / count
        middle, quarter = (begin + end) / 2, (end - begin) / 4
        inside = (indices >= begin) & (indices < end)
        central = inside & (np.abs(indices - middle) <= quarter)
        candidates = central if central.any() else inside
        if candidates.any():
            order = np.lexsort((np.abs(indices - middle), -objects, ~candidates))
            picked.add(int(indices[order[0]]))
        else:
            picked.add(int(middle) // every_nth * every_nth)
    return sorted(picked)


def _paths_by_video(folder: OutputFolder) -> dict[str, list[str]]:
    files = table_files(folder, "tracks") or table_files(folder, "detections")
    paths = defaultdict(list)
    for file in files.values():
        paths[str(file.facts.get("videoUri"))].append(file.path)
    return paths


def _rows(folder: OutputFolder, paths: Sequence[str]) -> Any:
    parts = []
    for path in paths:
        with folder.open(path) as source:
            parquet = pq.ParquetFile(source)
            present = [name for name in _COLUMNS.names if name in parquet.schema_arrow.names]
            parts.append(parquet.read(columns=present))
    return pa.concat_tables([_COLUMNS.empty_table(), *parts], promote_options="default")


def _shown(video_uri: str, frame_index: int, rows: Any) -> ShownFrame:
    boxes = [to_numpy(rows.column(name)) for name in ("x1", "y1", "x2", "y2")]
    return ShownFrame(
        video_uri=video_uri,
        frame_index=frame_index,
        boxes=np.stack(boxes, axis=1).astype(np.float32),
        class_names=tuple(rows.column("class_name").to_pylist()),
        track_ids=to_numpy(pc.fill_null(rows.column("track_id"), -1)).astype(np.int64),
    )
