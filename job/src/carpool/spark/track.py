"""The track task: the detections of one video in, its tracks and their summary out.

Tracking is sequential per video and streams the video's unit files in the order of time, one in
memory, so that its result depends on the detections alone: not on how the video was cut, which
attempt did what, or how long the video is. Frames of quarantined units pass as frames without
detections: tracks age over them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from carpool.errors import CarpoolError
from carpool.outputs.columns import to_numpy
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import table_file
from carpool.outputs.ownership import assert_owner
from carpool.outputs.parquet import TableBuffer
from carpool.outputs.tables import TRACKS, rows_of, tracks_table
from carpool.outputs.track_summary import SummaryBuilder
from carpool.outputs.units import TrackFacts, commit_tracks
from carpool.plan.identity import fingerprint
from carpool.plan.units import VideoPlan, WorkUnit
from carpool.spark.job_context import JobContext
from carpool.spark.reports import TrackReport
from carpool.spark.retrying import pause_before_retry
from carpool.spark.worker_process import keep_to_one_core
from carpool.vision.tracking import ByteTrack, ByteTrackParameters


@dataclass(frozen=True, slots=True)
class TrackWork:
    """One video to track.

    Attributes:
        track_id: name of its tables; changes with the units and their quarantine.
        video: the video, with all its units in the order of time.
        committed: ids of its units that have detections; frames of the others pass empty.
    """

    track_id: str
    video: VideoPlan
    committed: frozenset[str]

    @classmethod
    def of(cls, video: VideoPlan, committed: set[str]) -> TrackWork:
        """The work for a video none of whose units is still to come."""
        whole = [unit.unit_id for unit in video.units if unit.unit_id in committed]
        identity = fingerprint({"kind": "tracks", "video": video.video_id, "units": whole})
        return cls(identity, video, frozenset(whole))

    @property
    def frames_per_second(self) -> float:
        """Of the frames that are processed."""
        return self.video.fps / self.video.units[0].every_nth


def track_task(works: Iterator[TrackWork], context: JobContext) -> Iterator[TrackReport]:
    """Track the videos of one partition (Spark's `mapPartitions`).

    Raises:
        CarpoolError: a retryable one; Spark runs the task again.
    """
    keep_to_one_core()
    for work in works:
        try:
            facts = track_video(work, context)
        except CarpoolError as error:
            if error.retryable:
                pause_before_retry()
                raise
            yield TrackReport(work.track_id, "Failed", reason=error.reason, message=str(error))
        else:
            yield TrackReport(work.track_id, "Committed", facts.rows, facts.tracks)


def track_video(work: TrackWork, context: JobContext) -> TrackFacts:
    """Track one video and commit its tracks and their summary.

    Raises:
        OutputUnavailable: the storage failed; nothing says that the video is tracked.
    """
    if context.tracking is None:
        raise ValueError("the job has no tracking")
    started = time.monotonic()
    folder = OutputFolder(context.output_uri, context.storage)
    parameters = ByteTrackParameters.from_mapping(context.tracking.parameters)
    tracker = ByteTrack(parameters.for_video(work.frames_per_second))
    tracks, summary = TableBuffer(TRACKS), SummaryBuilder(work.video.file.uri)
    frames = 0
    for unit in work.video.units:
        frames += unit.expected
        if unit.unit_id not in work.committed:
            tracker.skip(unit.expected)
            continue
        with folder.open(table_file("detections", unit.unit_id)) as file:
            detections = pq.ParquetFile(file).read()
        part = tracks_table(detections, _track_unit(tracker, unit, detections))
        tracks.write(part)
        summary.add(part)
    facts = TrackFacts(
        video_id=work.track_id,
        video_uri=work.video.file.uri,
        tracking_fingerprint=context.tracking.fingerprint,
        frames=frames,
        seconds=round(time.monotonic() - started, 3),
    )
    assert_owner(folder, context.job_uid)
    return commit_tracks(folder, facts, tracks, summary.finish())


def _track_unit(tracker: ByteTrack, unit: WorkUnit, detections: Any) -> NDArray[np.int64]:
    """Give every frame of the unit to the tracker, also those without rows: tracks age by them.

    Returns:
        int64 [k]: the track id of each row of `detections`.
    """
    rows = rows_of(detections)
    frame_of_row = to_numpy(detections.column("frame_index"))
    first = -(-unit.frames.first // unit.every_nth) * unit.every_nth
    processed = np.arange(first, unit.frames.stop, unit.every_nth)
    starts = np.searchsorted(frame_of_row, processed, side="left")
    ends = np.searchsorted(frame_of_row, processed, side="right")
    ids = [tracker.update(rows[a:b]) for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(ids) if ids else np.empty(0, np.int64)
