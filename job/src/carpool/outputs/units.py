"""The results of work units and of videos: one file each, there whole or not at all.

What must stay true, whenever a writer dies:

* A unit's detections are one file, named after the unit; a second run of the unit replaces it.
* A unit is detected or quarantined, never both: a unit that has detections is not quarantined, and
  one that gets them is released first. Should two runs of a unit at the same time come to different
  ends, detections win: `committed_units` says so and `carpool.outputs.pruning` removes the other.
* A video is tracked when its `tracks` file is there. Its summary is written before and removed
  after it, so what a kill can leave is a summary alone, and tracking again replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import Field, ValidationError

from carpool.outputs.folder import OutputFolder, for_each
from carpool.outputs.footers import TableFile, table_files
from carpool.outputs.layout import TableName, table_file
from carpool.outputs.parquet import TableBuffer, encode
from carpool.outputs.record import Record
from carpool.outputs.tables import QUARANTINE


class UnitFacts(Record):
    """A unit's own account, in the footer of its file.

    Attributes:
        unit_id: the unit.
        video_uri: the video it is a part of.
        first_frame: index of its first frame.
        frames: frames of the video it stands for, done or quarantined; 1 for a file without index.
        rows: detections; set by `commit_unit`.
        seconds: how long it took.
        quarantined: why it has no detections (a CamelCase reason); empty if it has.
        host: what the model host said about itself, JSON values, free in form.
    """

    unit_id: str
    video_uri: str
    first_frame: int = 0
    frames: int
    rows: int = 0
    seconds: float = 0.0
    quarantined: str = ""
    host: dict[str, Any] = Field(default_factory=dict)


class TrackFacts(Record):
    """A tracked video's own account, in the footer of its `tracks` and `track_summary` files.

    Attributes:
        video_id: the video, as the planner names it: a hash over its units.
        video_uri: the video.
        tracking_fingerprint: of the algorithm and its parameters.
        frames: frames tracked over.
        seconds: how long it took.
        rows: rows of `tracks`; set by `commit_tracks`.
        tracks: distinct tracks; set by `commit_tracks`.
    """

    video_id: str
    video_uri: str
    tracking_fingerprint: str
    frames: int
    seconds: float = 0.0
    rows: int = 0
    tracks: int = 0


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A work unit that is set aside, whole: none of its frames has detections.

    Attributes:
        unit_id: the unit.
        video_uri: the video it is a part of.
        first_frame: index of its first frame.
        frames: frames in its range; None where no index of the file could be made.
        reason: CamelCase, from the error.
        message: one sentence for the user.
        frames_given: frames that could be had.
        frames_expected: frames that the index promised; None where there is none.
        seconds: how long it took to find out.
    """

    unit_id: str
    video_uri: str
    first_frame: int
    frames: int | None
    reason: str
    message: str
    frames_given: int
    frames_expected: int | None
    seconds: float = 0.0


def commit_unit(folder: OutputFolder, unit_id: str, table: Any, facts: UnitFacts) -> UnitFacts:
    """Write the detections of a unit.

    A quarantine row of the unit goes first: killed in between, the unit is merely undone.

    Args:
        folder: the output.
        unit_id: the unit.
        table: a `pyarrow.Table` with the columns of `detections`.
        facts: its account.

    Returns:
        The account as written, with the number of rows.

    Raises:
        OutputUnavailable: nothing is written; trying again may succeed.
    """
    written = facts.model_copy(update={"rows": table.num_rows, "quarantined": ""})
    content = encode(table, written.as_json())
    folder.delete(table_file("quarantine", unit_id))
    folder.commit(table_file("detections", unit_id), content)
    return written


def commit_quarantine(folder: OutputFolder, row: QuarantineRow) -> UnitFacts | None:
    """Set a unit aside, unless another run of it has written its detections meanwhile.

    Returns:
        The account of the unit as written; None if the unit has detections.

    Raises:
        OutputUnavailable: nothing is written; trying again may succeed.
    """
    if folder.exists(table_file("detections", row.unit_id)):
        return None
    facts = UnitFacts(
        unit_id=row.unit_id,
        video_uri=row.video_uri,
        first_frame=row.first_frame,
        frames=1 if row.frames is None else row.frames,
        seconds=row.seconds,
        quarantined=row.reason,
    )
    columns = {name: getattr(row, name) for name in QUARANTINE.names if name != "time"}
    table = pa.Table.from_pylist([{**columns, "time": datetime.now(UTC)}], schema=QUARANTINE)
    folder.commit(table_file("quarantine", row.unit_id), encode(table, facts.as_json()))
    return facts


def committed_units(folder: OutputFolder) -> dict[str, UnitFacts]:
    """The account of every unit that is done, detected or quarantined, by unit id.

    Raises:
        OutputUnavailable: the storage does not answer.
    """
    quarantined = _accounts(table_files(folder, "quarantine"), UnitFacts)
    return quarantined | _accounts(table_files(folder, "detections"), UnitFacts)


def commit_tracks(
    folder: OutputFolder, facts: TrackFacts, tracks: TableBuffer, summary: Any
) -> TrackFacts:
    """Write the tracks of a video and their summary.

    Args:
        folder: the output.
        facts: the video's account.
        tracks: the rows of `tracks`; finished here.
        summary: a `pyarrow.Table` with the columns of `track_summary`.

    Returns:
        The account as written, with the numbers of rows and tracks.

    Raises:
        OutputUnavailable: the video is not tracked (a summary may be there); trying again may
            succeed.
    """
    written = facts.model_copy(update={"rows": tracks.rows, "tracks": summary.num_rows})
    summary_file = encode(summary, written.as_json())
    tracks_file = tracks.finish(written.as_json())
    folder.commit(table_file("track_summary", facts.video_id), summary_file)
    folder.commit(table_file("tracks", facts.video_id), tracks_file)
    return written


def committed_tracks(folder: OutputFolder, tracking_fingerprint: str) -> dict[str, TrackFacts]:
    """The account of every video that is tracked with these parameters, by video id.

    A file of other parameters (written late by a job that this one has superseded) does not count;
    tracking the video again replaces it.

    Raises:
        OutputUnavailable: the storage does not answer.
    """
    summaries = {entry.path for entry in folder.list("track_summary")}
    accounts = _accounts(table_files(folder, "tracks"), TrackFacts)
    return {
        video_id: facts
        for video_id, facts in accounts.items()
        if facts.tracking_fingerprint == tracking_fingerprint
        and table_file("track_summary", video_id) in summaries
    }


def forget_quarantined(
    folder: OutputFolder, unit_ids: Iterable[str], video_ids: Iterable[str]
) -> None:
    """Make quarantined units undone, to try them again, with the tracks of their videos.

    Args:
        folder: the output.
        unit_ids: quarantined units.
        video_ids: the videos they are parts of; their tracks lack the frames of those units.

    Raises:
        OutputUnavailable: part of it may be done; calling again is safe.
    """
    remove_tracks(folder, video_ids)
    remove_files(folder, "quarantine", unit_ids)


def remove_tracks(folder: OutputFolder, video_ids: Iterable[str]) -> None:
    """Make videos untracked; the `tracks` file goes first, since it is what says "tracked"."""
    videos = list(video_ids)
    remove_files(folder, "tracks", videos)
    remove_files(folder, "track_summary", videos)


def remove_files(folder: OutputFolder, table: TableName, ids: Iterable[str]) -> None:
    """Remove the files that units or videos have in a table, if they are there."""
    for_each(lambda identity: folder.delete(table_file(table, identity)), ids)


_Account = TypeVar("_Account", UnitFacts, TrackFacts)


def _accounts(files: dict[str, TableFile], kind: type[_Account]) -> dict[str, _Account]:
    accounts = {}
    for identity, file in files.items():
        try:
            accounts[identity] = kind.model_validate(file.facts)
        except ValidationError:
            # Facts of another Carpool that this one cannot read: the unit runs again.
            continue
    return accounts
