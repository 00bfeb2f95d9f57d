"""What of a plan has ended, whatever attempt did it, and so what is missing.

The output folder is the only memory between attempts. What must stay true: before the first unit of
an attempt runs, the folder holds nothing that the plan does not explain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from carpool.outputs.completion import reopen
from carpool.outputs.folder import OutputFolder
from carpool.outputs.pruning import prune
from carpool.outputs.units import (
    QuarantineRow,
    commit_quarantine,
    committed_tracks,
    committed_units,
    forget_quarantined,
)
from carpool.plan.units import Plan, UnreadableInput
from carpool.spark.job_context import Tracking
from carpool.spark.reports import UnitReport
from carpool.spark.track import TrackWork


@dataclass(slots=True)
class Progress:
    """What has ended so far, whatever attempt did it.

    Attributes:
        committed: units whose detections are committed.
        quarantined: units whose quarantine row is committed.
        tracked: ids of track tables that are committed.
        reports: last report of each unit that ran in this attempt.
        loaded: figures of the hosts that held a copy of the model at the end of this attempt.
    """

    committed: set[str]
    quarantined: set[str]
    tracked: set[str]
    reports: dict[str, UnitReport] = field(default_factory=dict)
    loaded: list[dict[str, Any]] = field(default_factory=list)

    def hosts(self) -> dict[str, dict[str, Any]]:
        """The last statistics of each model host, whether it served a unit or not, by its id."""
        served = (report.host for report in self.reports.values() if "host_id" in report.host)
        return {str(figures["host_id"]): figures for figures in (*served, *self.loaded)}

    def ended(self, unit_id: str) -> bool:
        """Whether nothing is left to do for the unit."""
        return unit_id in self.committed or unit_id in self.quarantined

    def track_ids(self, plan: Plan) -> set[str]:
        """Names of the track tables of the videos all of whose units have ended."""
        return {
            TrackWork.of(video, self.committed).track_id
            for video in plan.videos
            if all(self.ended(unit.unit_id) for unit in video.units)
        }

    def is_complete(self, plan: Plan, tracking: Tracking | None) -> bool:
        """Whether nothing of the plan is missing."""
        if not all(self.ended(unit.unit_id) for unit in plan.units):
            return False
        return tracking is None or self.track_ids(plan) <= self.tracked


def planned_ids(plan: Plan) -> set[str]:
    """Ids of all that has a file in `detections` or `quarantine` in the end."""
    return {unit.unit_id for unit in plan.units} | {each.unit_id for each in plan.unreadable}


def progress_so_far(
    plan: Plan, tracking: Tracking | None, folder: OutputFolder, job_uid: str
) -> Progress:
    """Clean a claimed folder of what the plan does not explain, and see what it holds.

    Files that the planner could not read are put into quarantine here: no task will see them.

    Raises:
        OutputSuperseded: the folder is another job's by now.
        OutputUnavailable: the storage failed; doing it again is safe.
    """
    wanted = planned_ids(plan)
    units = {key: facts for key, facts in committed_units(folder).items() if key in wanted}
    progress = Progress(
        committed={key for key, facts in units.items() if not facts.quarantined},
        quarantined={key for key, facts in units.items() if facts.quarantined},
        tracked=set(),
    )
    track_ids = progress.track_ids(plan) if tracking else set()
    prune(folder, job_uid, unit_ids=wanted, video_ids=track_ids)
    if tracking:
        progress.tracked |= track_ids & committed_tracks(folder, tracking.fingerprint).keys()
    for unreadable in plan.unreadable:
        if not progress.ended(unreadable.unit_id):
            reopen(folder)
            _quarantine(folder, unreadable)
            progress.quarantined.add(unreadable.unit_id)
    return progress


def forget_all_quarantined(folder: OutputFolder) -> None:
    """Make every quarantined unit of a claimed folder undone, to try it again.

    Tracks of their videos go with the next look at the plan: they are named by committed units.

    Raises:
        OutputUnavailable: part of it may be done; calling again is safe.
    """
    units = committed_units(folder)
    quarantined = [unit_id for unit_id, facts in units.items() if facts.quarantined]
    if quarantined:
        reopen(folder)
        forget_quarantined(folder, quarantined, ())


def _quarantine(folder: OutputFolder, unreadable: UnreadableInput) -> None:
    commit_quarantine(
        folder,
        QuarantineRow(
            unit_id=unreadable.unit_id,
            video_uri=unreadable.file.uri,
            first_frame=0,
            frames=None,
            reason=unreadable.reason,
            message=unreadable.message,
            frames_given=0,
            frames_expected=unreadable.expected,
        ),
    )
