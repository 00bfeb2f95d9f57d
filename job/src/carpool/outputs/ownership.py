"""Whose an output folder is, and what a job may do with what it finds there.

`_carpool/owner.json` names the job that works on the folder and the settings its results were made
with. It is written before the first result and never removed while there are any, so a folder with
results and without it was not made by Carpool.

What must stay true:

* `output.mode` counts once per job uid; an attempt that finds its own uid goes on.
* Taking over writes the new owner first, with a note of what has to be cleared; clearing follows;
  the note goes last. Killed anywhere, the next claim finds the note and clears again, and the job
  that lost the folder finds out by `assert_owner`.
* Object stores have no lock: of two jobs that claim at once, the last writer owns the folder, and
  the other one ends with OutputSuperseded at its next `assert_owner`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from carpool import __version__
from carpool.errors import OutputExists, OutputMismatch, OutputNotOurs, OutputSuperseded
from carpool.outputs.completion import is_complete, reopen
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import CONTACT_SHEET, OWNER, OWNER_FOLDER, TABLES
from carpool.outputs.record import Record
from carpool.outputs.settings_difference import differences

Mode: TypeAlias = Literal["Error", "Overwrite", "Resume"]
Clearing: TypeAlias = Literal["Nothing", "Tracks", "Everything"]


class Claimant(Record):
    """The job that wants to write into a folder.

    Attributes:
        job_uid: the same for every attempt of a job, different for every job.
        job_name: for messages.
        fingerprint: of all that detections depend on besides the input.
        settings: the facts behind the fingerprint, by the names of the job file.
        tracking_fingerprint: of all that tracks depend on besides detections; empty without
            tracking.
        tracking_settings: the facts behind it.
    """

    job_uid: str
    job_name: str
    fingerprint: str
    settings: dict[str, Any] = Field(default_factory=dict)
    tracking_fingerprint: str = ""
    tracking_settings: dict[str, Any] = Field(default_factory=dict)


class Owner(Claimant):
    """The content of `_carpool/owner.json`.

    Attributes:
        version: of the Carpool that wrote it.
        time: when the folder was claimed.
        clearing: what still has to be removed before the folder may be used.
    """

    version: str
    time: datetime
    clearing: Clearing = "Nothing"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim came to.

    Attributes:
        resumed: whether results of the same settings may be there.
        previous_uid: the job that had the folder before; None if it was free.
        cleared: what was removed.
    """

    resumed: bool
    previous_uid: str | None
    cleared: Clearing


def claim(folder: OutputFolder, mode: Mode, claimant: Claimant) -> Claim:
    """Make a folder the claimant's, or refuse.

    Args:
        folder: the output; it need not exist.
        mode: `spec.output.mode`; does not count where the folder is the claimant's already.
        claimant: the job.

    Raises:
        OutputExists: mode Error, and something is there.
        OutputNotOurs: something is there that Carpool did not write.
        OutputMismatch: the results there were made with other settings; the message names them.
        OutputSuperseded: another job claimed the folder in the same moment.
        OutputUnavailable: the storage does not answer; claiming again is safe.
    """
    owner = read_owner(folder)
    if owner is None:
        _refuse_unless_empty(folder, mode)
        clearing: Clearing = "Nothing"
    else:
        clearing = _what_to_clear(folder, mode, claimant, owner)
    _write_owner(folder, claimant, clearing)
    if clearing != "Nothing":
        _clear(folder, clearing)
        _write_owner(folder, claimant, "Nothing")
    folder.sweep(("", OWNER_FOLDER, *TABLES))
    assert_owner(folder, claimant.job_uid)
    return Claim(
        resumed=owner is not None and clearing != "Everything",
        previous_uid=owner.job_uid if owner else None,
        cleared=clearing,
    )


def as_next_attempt(folder: OutputFolder, claimant: Claimant) -> Claimant:
    """The claimant as the next attempt of the job that left the folder unfinished, if it is one.

    Where nobody hands out uids (on one machine), a job is the same if its name and its settings
    are, and if its folder is not complete: who runs an interrupted job again wants it to go on,
    whatever `output.mode` says.

    Raises:
        OutputNotOurs: there is an owner file that no Carpool wrote.
        OutputUnavailable: the storage does not answer.
    """
    owner = read_owner(folder)
    same = owner is not None and (
        owner.job_name,
        owner.fingerprint,
        owner.tracking_fingerprint,
    ) == (claimant.job_name, claimant.fingerprint, claimant.tracking_fingerprint)
    if owner is None or not same or is_complete(folder):
        return claimant
    return claimant.model_copy(update={"job_uid": owner.job_uid})


def read_owner(folder: OutputFolder) -> Owner | None:
    """The owner of a folder; None if it has none.

    Raises:
        OutputNotOurs: there is an owner file that no Carpool wrote.
        OutputUnavailable: the storage does not answer.
    """
    content = folder.read(OWNER)
    if content is None:
        return None
    try:
        return Owner.model_validate_json(content)
    except ValidationError as error:
        raise OutputNotOurs(
            f"{folder.uri}/{OWNER} is not what Carpool writes ({error.errors()[0]['msg']}). "
            "Choose another spec.output.uri."
        ) from error


def assert_owner(folder: OutputFolder, job_uid: str) -> Owner:
    """Make sure that a job still owns a folder, before it removes or completes anything.

    Raises:
        OutputSuperseded: another job has taken the folder over.
        OutputUnavailable: the storage does not answer.
    """
    owner = read_owner(folder)
    if owner is None:
        raise OutputSuperseded(
            f"{folder.uri}/{OWNER} is gone: the folder was deleted while job {job_uid} ran"
        )
    if owner.job_uid != job_uid:
        raise OutputSuperseded(
            f"{folder.uri} was taken over by job {owner.job_name!r} ({owner.job_uid}) at "
            f"{owner.time:%Y-%m-%d %H:%M:%S %Z}; this is job {job_uid}"
        )
    return owner


def _what_to_clear(folder: OutputFolder, mode: Mode, claimant: Claimant, owner: Owner) -> Clearing:
    if owner.job_uid != claimant.job_uid:
        if mode == "Error":
            raise OutputExists(
                f"{folder.uri} holds results of job {owner.job_name!r} ({owner.job_uid}) and "
                "spec.output.mode is Error. Choose another spec.output.uri, or Resume or Overwrite."
            )
        if mode == "Overwrite":
            return "Everything"
    if owner.fingerprint != claimant.fingerprint:
        _refuse_other_settings(folder, claimant, owner)
    if owner.clearing == "Everything":
        return "Everything"
    if owner.tracking_fingerprint != claimant.tracking_fingerprint:
        return "Tracks"
    return owner.clearing


def _refuse_other_settings(folder: OutputFolder, claimant: Claimant, owner: Owner) -> None:
    # Through JSON, as the owner's went: a tuple and a list are no difference.
    changed = differences(owner.settings, claimant.as_json()["settings"])
    raise OutputMismatch(
        f"{folder.uri} holds results that job {owner.job_name!r} made with other settings: "
        f"{changed or 'their fingerprint differs'}. Choose another spec.output.uri, or set "
        "spec.output.mode to Overwrite in a new job."
    )


def _refuse_unless_empty(folder: OutputFolder, mode: Mode) -> None:
    found = _any_file(folder)
    if found is None:
        return
    if mode == "Error":
        raise OutputExists(
            f"{folder.uri} is not empty (it holds {found}) and spec.output.mode is Error. "
            "Choose another spec.output.uri."
        )
    raise OutputNotOurs(
        f"{folder.uri} holds {found}, which Carpool did not write ({OWNER} is missing). "
        "Choose another spec.output.uri, or empty the folder yourself."
    )


def _any_file(folder: OutputFolder) -> str | None:
    """Some file of the folder; hidden ones do not count, they are a file system's or an editor's.

    Folder by folder, not recursively: the URI may name the root of a bucket by mistake.
    """
    waiting = deque([""])
    while waiting:
        for entry in folder.list(waiting.popleft()):
            if entry.name.startswith("."):
                continue
            if entry.is_file:
                return entry.path
            waiting.append(entry.path)
    return None


def _write_owner(folder: OutputFolder, claimant: Claimant, clearing: Clearing) -> None:
    owner = Owner(
        **{name: getattr(claimant, name) for name in Claimant.model_fields},
        version=__version__,
        time=datetime.now(UTC),
        clearing=clearing,
    )
    folder.commit(OWNER, owner.as_bytes())


def _clear(folder: OutputFolder, clearing: Clearing) -> None:
    reopen(folder)
    # "tracks" before "track_summary": a video is tracked as long as its tracks are there.
    tables: Iterable[str] = ("tracks", "track_summary")
    if clearing == "Everything":
        tables = (*tables, "detections", "quarantine")
        folder.delete(CONTACT_SHEET)
        for entry in folder.list(OWNER_FOLDER):
            if entry.is_file and entry.path != OWNER:
                folder.delete(entry.path)
    for table in tables:
        folder.delete_tree(table)
