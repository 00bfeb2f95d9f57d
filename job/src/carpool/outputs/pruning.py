"""Removing what the plan does not know: the results of inputs that were replaced or taken away.

The name of a unit's file follows from its input and its settings, so a changed input leaves files
behind that no unit of the plan will ever replace; read together with the new ones they would show
the same frames twice. They go before the first unit runs, so that no kill afterwards can show
both, and once more before the job is complete, since a late task of a superseded job may have
written meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from carpool.outputs.completion import reopen
from carpool.outputs.folder import OutputFolder, for_each
from carpool.outputs.layout import TableName, file_id, is_visible
from carpool.outputs.ownership import assert_owner


def prune(
    folder: OutputFolder,
    job_uid: str,
    *,
    unit_ids: Collection[str],
    video_ids: Collection[str],
) -> int:
    """Remove the files of units and videos that are not in the plan.

    The folders of the four tables are Carpool's: whatever a reader would see there and the plan
    does not explain is removed. If anything is, the folder is no longer complete.

    Args:
        folder: the output, claimed.
        job_uid: its owner.
        unit_ids: all units of the plan, with those of unreadable inputs.
        video_ids: the videos to be tracked; none without tracking.

    Returns:
        How many files were removed.

    Raises:
        OutputSuperseded: the folder is another job's by now; nothing is removed.
        OutputUnavailable: the storage refused; pruning again is safe.
    """
    assert_owner(folder, job_uid)
    units, videos = frozenset(unit_ids), frozenset(video_ids)
    detections = _visible(folder, "detections")
    quarantine = _visible(folder, "quarantine")
    detected = {file_id(path) for path in detections}
    # Tracks before their summaries, and both before the detections that they were made of.
    steps = (
        [path for path in _visible(folder, "tracks") if file_id(path) not in videos],
        [path for path in _visible(folder, "track_summary") if file_id(path) not in videos],
        [path for path in detections if file_id(path) not in units],
        [path for path in quarantine if file_id(path) not in units - detected],
    )
    removed = sum(len(step) for step in steps)
    if removed:
        reopen(folder)
        for step in steps:
            for_each(folder.delete, step)
    return removed


def _visible(folder: OutputFolder, table: TableName) -> list[str]:
    entries = folder.list(table, recursive=True)
    return [entry.path for entry in entries if entry.is_file and is_visible(entry.path)]
