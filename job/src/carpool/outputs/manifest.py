"""`_manifest.json`: what a complete output folder holds, and how it came about."""

from __future__ import annotations

import platform
from datetime import datetime
from importlib import metadata
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field, ValidationError

from carpool.errors import OutputNotOurs
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import MANIFEST, TableName
from carpool.outputs.record import Record

Phase: TypeAlias = Literal["Succeeded", "PartiallySucceeded"]

MOST_FAILURES: Final = 10
"""Failures kept: enough to see what is wrong; all of them are in the quarantine table."""

_LIBRARIES: Final = (
    "carpool",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "pyspark",
    "scipy",
    "torch",
)


class InputRecord(Record):
    """One input file.

    Attributes:
        uri: where it was read from.
        path: its path below the input root, the name that does not depend on the place.
        size: bytes.
        modified_ns: time of its last change, nanoseconds since 1970.
        frames: frames of the video; None where no index could be made.
        video_id: the planner's name for the video; None where no index could be made.
    """

    uri: str
    path: str
    size: int
    modified_ns: int
    frames: int | None
    video_id: str | None


class FileRecord(Record):
    """One file of a table: its path below the output folder, its rows, its bytes."""

    path: str
    rows: int
    bytes: int


class Failure(Record):
    """Why a work unit has no detections."""

    unit_id: str
    video_uri: str
    reason: str
    message: str


class Totals(Record):
    """Sums over the whole result.

    Attributes:
        inputs: input files.
        frames: frames that detection ran on.
        detections: rows of `detections`.
        tracked_videos: videos with tracks (possibly none in them).
        tracks: distinct tracks.
        tracked_detections: rows of `tracks`.
        quarantined_units: units that were set aside.
        quarantined_frames: the frames they stand for; an unreadable file counts as one.
        bytes: of all files of the four tables.
    """

    inputs: int
    frames: int
    detections: int
    tracked_videos: int
    tracks: int
    tracked_detections: int
    quarantined_units: int
    quarantined_frames: int
    bytes: int


class Manifest(Record):
    """The content of `_manifest.json`.

    Attributes:
        job_name: the job.
        job_uid: its uid.
        phase: Succeeded, or PartiallySucceeded if anything is quarantined.
        finished: when.
        seconds: how long the job took, all its attempts as far as the driver knows.
        versions: of Python and of the libraries installed where the driver ran.
        fingerprint: of all that detections depend on besides the input.
        settings: the facts behind the fingerprint.
        tracking_fingerprint: of all that tracks depend on besides detections.
        tracking_settings: the facts behind it.
        inputs: every input file.
        files: by table, every file with its rows and bytes.
        totals: sums.
        failures: the last ten.
        host: statistics of the model hosts, free in form.
    """

    job_name: str
    job_uid: str
    phase: Phase
    finished: datetime
    seconds: float
    versions: dict[str, str]
    fingerprint: str
    settings: dict[str, Any]
    tracking_fingerprint: str = ""
    tracking_settings: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[InputRecord, ...]
    files: dict[TableName, tuple[FileRecord, ...]]
    totals: Totals
    failures: tuple[Failure, ...] = ()
    host: dict[str, Any] = Field(default_factory=dict)


def read_manifest(folder: OutputFolder) -> Manifest | None:
    """The manifest of a folder; None if it has none (the job is not complete).

    Raises:
        OutputNotOurs: there is a file of this name that Carpool did not write.
        OutputUnavailable: the storage does not answer.
    """
    content = folder.read(MANIFEST)
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise OutputNotOurs(
            f"{folder.uri}/{MANIFEST} is not what Carpool writes: {field}: {first['msg']}"
        ) from error


def write_manifest(folder: OutputFolder, manifest: Manifest) -> None:
    """Write the manifest.

    Raises:
        OutputUnavailable: the storage refused.
    """
    folder.commit(MANIFEST, manifest.as_bytes())


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, as far as installed."""
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions
