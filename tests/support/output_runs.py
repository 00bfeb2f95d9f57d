"""A small job on an output folder: the calls that a driver and its tasks make, without Spark.

The scene is made of arithmetic: object `k` of frame `f` of a video exists if `k < objects(f)`, and
its box and score depend on (video, revision, f, k) alone, never on the cut into units. A replaced
input is the same video with another revision: same frames, other scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.completion import is_complete
from carpool.outputs.finish import FinishedWork, finish
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import TABLES, table_file
from carpool.outputs.manifest import InputRecord
from carpool.outputs.ownership import Claim, Claimant, Mode, claim
from carpool.outputs.parquet import TableBuffer
from carpool.outputs.pruning import prune
from carpool.outputs.tables import TRACKS, detections_table, tracks_table
from carpool.outputs.track_summary import SummaryBuilder
from carpool.outputs.units import (
    QuarantineRow,
    TrackFacts,
    UnitFacts,
    commit_quarantine,
    commit_tracks,
    commit_unit,
    committed_tracks,
    committed_units,
)

CLASS_NAMES = ("car", "truck", "bus")
LOCAL = StorageOptions()


@dataclass(frozen=True)
class Video:
    path: str
    frames: int = 20
    revision: int = 0
    cuts: tuple[int, ...] = (10,)
    root: str = "file:///videos"

    @property
    def uri(self) -> str:
        return f"{self.root}/{self.path}"

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise([0, *self.cuts, self.frames]))


@dataclass(frozen=True)
class Job:
    uid: str
    videos: tuple[Video, ...]
    fingerprint: str = "model-a"
    tracking: str = "track-a"
    mode: Mode = "Resume"
    bad: frozenset[tuple[str, int]] = frozenset()  # (path, first frame) of units to quarantine

    def unit_id(self, video: Video, first: int, end: int) -> str:
        return f"{video.path}-{video.revision}-{first}-{end}-{self.fingerprint}".replace("/", "~")

    def unit_ids(self, video: Video) -> list[str]:
        return [self.unit_id(video, first, end) for first, end in video.ranges]

    def video_id(self, video: Video) -> str:
        return "+".join(self.unit_ids(video))

    @property
    def claimant(self) -> Claimant:
        return Claimant(
            job_uid=self.uid,
            job_name=f"name-of-{self.uid}",
            fingerprint=self.fingerprint,
            settings={"model": {"uri": self.fingerprint}},
            tracking_fingerprint=self.tracking,
            tracking_settings={"algorithm": self.tracking},
        )

    def having(self, **changes: Any) -> Job:
        return replace(self, **changes)


def scene(video: Video, first: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame indices [k], object numbers [k] and rows [k, 6] of some frames of a video."""
    frames = np.arange(first, end)
    counts = frames % 4
    frame_index = np.repeat(frames, counts)
    objects = np.concatenate([np.arange(count) for count in counts] or [np.empty(0, int)])
    rows = np.empty((len(objects), 6), np.float32)
    rows[:, 0] = 100 * objects + frame_index
    rows[:, 1] = len(video.path) + 10 * objects
    rows[:, 2:4] = rows[:, 0:2] + 40
    rows[:, 4] = 0.5 + 0.01 * objects + 0.001 * video.revision
    rows[:, 5] = objects % len(CLASS_NAMES)
    return frame_index.astype(np.int64), objects.astype(np.int64), rows


def unit_table(job: Job, video: Video, first: int, end: int) -> pa.Table:
    frame_index, _, rows = scene(video, first, end)
    return detections_table(
        video_uri=video.uri,
        unit_id=job.unit_id(video, first, end),
        frame_index=frame_index,
        pts_ns=frame_index * 40_000_000,
        rows=rows,
        class_names=CLASS_NAMES,
    )


def unit_facts(job: Job, video: Video, first: int, end: int) -> UnitFacts:
    return UnitFacts(
        unit_id=job.unit_id(video, first, end),
        video_uri=video.uri,
        first_frame=first,
        frames=end - first,
        seconds=0.5,
        host={"copies": 1},
    )


def run_unit(folder: OutputFolder, job: Job, video: Video, first: int, end: int) -> None:
    unit_id = job.unit_id(video, first, end)
    if (video.path, first) in job.bad:
        commit_quarantine(
            folder,
            QuarantineRow(
                unit_id=unit_id,
                video_uri=video.uri,
                first_frame=first,
                frames=end - first,
                reason="FramesMissing",
                message="the file ends early",
                frames_given=3,
                frames_expected=end - first,
            ),
        )
    else:
        commit_unit(
            folder, unit_id, unit_table(job, video, first, end), unit_facts(job, video, first, end)
        )


def track_video(folder: OutputFolder, job: Job, video: Video) -> None:
    tracks, summary = TableBuffer(TRACKS), SummaryBuilder(video.uri)
    for first, end in video.ranges:
        if (video.path, first) in job.bad:
            continue
        with folder.open(table_file("detections", job.unit_id(video, first, end))) as source:
            detections = pq.ParquetFile(source).read()
        part = tracks_table(detections, scene(video, first, end)[1] - 1)  # object 0 has no track
        tracks.write(part)
        summary.add(part)
    facts = TrackFacts(
        video_id=job.video_id(video),
        video_uri=video.uri,
        tracking_fingerprint=job.tracking,
        frames=video.frames,
    )
    commit_tracks(folder, facts, tracks, summary.finish())


def run(folder: OutputFolder, job: Job) -> Claim:
    """Run a job to its end; what is there already is not done again."""
    unit_ids = [unit_id for video in job.videos for unit_id in job.unit_ids(video)]
    tracked = job.videos if job.tracking else ()
    video_ids = [job.video_id(video) for video in tracked]
    claimed = claim(folder, job.mode, job.claimant)
    prune(folder, job.uid, unit_ids=unit_ids, video_ids=video_ids)
    done = committed_units(folder)
    for video in job.videos:
        for first, end in video.ranges:
            if job.unit_id(video, first, end) not in done:
                run_unit(folder, job, video, first, end)
    tracked_already = committed_tracks(folder, job.tracking)
    for video in tracked:
        if job.video_id(video) not in tracked_already:
            track_video(folder, job, video)
    if not is_complete(folder):
        finish(folder, job.uid, finished_work(job))
    return claimed


def finished_work(job: Job) -> FinishedWork:
    tracked = job.videos if job.tracking else ()
    return FinishedWork(
        unit_ids=[unit_id for video in job.videos for unit_id in job.unit_ids(video)],
        video_ids=[job.video_id(video) for video in tracked],
        inputs=[
            InputRecord(
                uri=video.uri,
                path=video.path,
                size=1000 + video.revision,
                modified_ns=video.revision,
                frames=video.frames,
                video_id=job.video_id(video),
            )
            for video in job.videos
        ],
        seconds=1.5,
    )


def rows_seen(root: str, table: str, filesystem: object = None) -> list[dict[str, object]]:
    """What a reader sees in a table: hidden and `_` names are passed over, as Spark does."""
    if filesystem is None:
        from pyarrow import fs

        filesystem = fs.LocalFileSystem()
    try:
        found = pyarrow.dataset.dataset(f"{root}/{table}", format="parquet", filesystem=filesystem)
    except FileNotFoundError:
        return []
    rows: list[dict[str, object]] = found.to_table().to_pylist()
    return rows


def repeated_rows(rows: Sequence[dict[str, object]], table: str) -> list[object]:
    """Keys that a table shows more than once, whatever the values beside the key."""
    keys = {
        "detections": ("video_uri", "frame_index", "x1"),
        "tracks": ("video_uri", "frame_index", "x1"),
        "track_summary": ("video_uri", "track_id"),
        "quarantine": ("video_uri", "first_frame"),
    }[table]
    seen: set[object] = set()
    repeated: list[object] = []
    for row in rows:
        key = tuple(row[name] for name in keys)
        if key in seen:
            repeated.append(key)
        seen.add(key)
    return repeated


def all_rows(root: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table but for times and unit ids, sorted: two folders hold the same?"""
    return {
        table: sorted(
            tuple(str(value) for name, value in row.items() if name not in {"time", "unit_id"})
            for row in rows_seen(root, table)
        )
        for table in TABLES
    }
