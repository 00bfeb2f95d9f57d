"""The end of a job: what lies in the folder is checked against the plan, described, and marked.

The order is what makes `_SUCCESS` trustworthy: remove what does not belong, make sure that what
belongs is there (read from the storage, not remembered), write the manifest, and only then the
mark. Killed anywhere, doing it again gives the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from carpool.errors import OutputUnavailable
from carpool.outputs.completion import mark_complete
from carpool.outputs.folder import OutputFolder
from carpool.outputs.footers import TableFile, table_files
from carpool.outputs.layout import OWNER_FOLDER, TABLES, TableName
from carpool.outputs.manifest import (
    MOST_FAILURES,
    Failure,
    FileRecord,
    InputRecord,
    Manifest,
    Totals,
    installed_versions,
    write_manifest,
)
from carpool.outputs.ownership import Owner, assert_owner
from carpool.outputs.pruning import prune

_Files = Mapping[TableName, Mapping[str, TableFile]]


@dataclass(frozen=True, slots=True)
class FinishedWork:
    """What the driver knows at the end of a job.

    Attributes:
        unit_ids: all units of the plan, with those of unreadable inputs.
        video_ids: the videos that were tracked; none without tracking.
        inputs: every input file.
        failures: in the order in which they happened.
        host: statistics of the model hosts.
        seconds: how long the job took.
    """

    unit_ids: Collection[str]
    video_ids: Collection[str]
    inputs: Sequence[InputRecord]
    seconds: float
    failures: Sequence[Failure] = ()
    host: Mapping[str, Any] = field(default_factory=dict)


def finish(folder: OutputFolder, job_uid: str, work: FinishedWork) -> Manifest:
    """Complete an output folder.

    Args:
        folder: the output, claimed by the job, with every unit and video committed.
        job_uid: the job.
        work: what the driver knows.

    Returns:
        The manifest as written; its phase is the job's.

    Raises:
        OutputSuperseded: another job has taken the folder over; it is not marked.
        OutputUnavailable: the storage refused, or a result is missing; it is not marked.
    """
    owner = assert_owner(folder, job_uid)
    prune(folder, job_uid, unit_ids=work.unit_ids, video_ids=work.video_ids)
    folder.sweep(("", OWNER_FOLDER, *TABLES))
    files = {table: table_files(folder, table) for table in TABLES}
    _refuse_missing(folder, files, work)
    manifest = _describe(owner, files, work)
    write_manifest(folder, manifest)
    assert_owner(folder, job_uid)
    mark_complete(folder)
    return manifest


def _refuse_missing(folder: OutputFolder, files: _Files, work: FinishedWork) -> None:
    units = set(work.unit_ids) - files["detections"].keys() - files["quarantine"].keys()
    videos = set(work.video_ids) - (files["tracks"].keys() & files["track_summary"].keys())
    for kind, missing in (("work units", units), ("tracked videos", videos)):
        if missing:
            raise OutputUnavailable(
                f"{folder.uri} lacks the results of {len(missing)} {kind} that were written "
                f"before, {min(missing)} among them. Were files removed while the job ran? "
                "Run it again: what is missing will be made."
            )


def _describe(owner: Owner, files: _Files, work: FinishedWork) -> Manifest:
    records: dict[TableName, tuple[FileRecord, ...]] = {
        table: tuple(
            FileRecord(path=file.path, rows=file.rows, bytes=file.bytes)
            for file in files[table].values()
        )
        for table in TABLES
    }
    rows = {table: sum(record.rows for record in records[table]) for table in TABLES}
    return Manifest(
        job_name=owner.job_name,
        job_uid=owner.job_uid,
        phase="PartiallySucceeded" if files["quarantine"] else "Succeeded",
        finished=datetime.now(UTC),
        seconds=work.seconds,
        versions=installed_versions(),
        fingerprint=owner.fingerprint,
        settings=owner.settings,
        tracking_fingerprint=owner.tracking_fingerprint,
        tracking_settings=owner.tracking_settings,
        inputs=tuple(work.inputs),
        files=records,
        totals=Totals(
            inputs=len(work.inputs),
            frames=_frames(files["detections"]),
            detections=rows["detections"],
            tracked_videos=len(files["tracks"]),
            tracks=rows["track_summary"],
            tracked_detections=rows["tracks"],
            quarantined_units=len(files["quarantine"]),
            quarantined_frames=_frames(files["quarantine"]),
            bytes=sum(record.bytes for table in TABLES for record in records[table]),
        ),
        failures=tuple(work.failures[-MOST_FAILURES:]),
        host=dict(work.host),
    )


def _frames(files: Mapping[str, TableFile]) -> int:
    return sum(int(file.facts.get("frames", 0)) for file in files.values())
