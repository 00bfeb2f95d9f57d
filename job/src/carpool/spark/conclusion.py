"""The end of a job in words and numbers: for the manifest, and for whoever started it."""

from __future__ import annotations

from carpool.outputs.finish import FinishedWork
from carpool.outputs.manifest import Failure, InputRecord, Manifest
from carpool.plan.units import Plan
from carpool.spark.job_context import Tracking
from carpool.spark.progress import Progress, planned_ids
from carpool.spark.result import JobResult


def finished_work(
    plan: Plan, tracking: Tracking | None, progress: Progress, seconds: float
) -> FinishedWork:
    """What `finish` has to know: the plan, and what this attempt found out."""
    inputs = [
        InputRecord(
            uri=video.file.uri,
            path=video.file.path,
            size=video.file.size,
            modified_ns=video.file.modified_ns,
            frames=video.frames,
            video_id=video.video_id,
        )
        for video in plan.videos
    ]
    inputs += [
        InputRecord(
            uri=each.file.uri,
            path=each.file.path,
            size=each.file.size,
            modified_ns=each.file.modified_ns,
            frames=None,
            video_id=None,
        )
        for each in plan.unreadable
    ]
    return FinishedWork(
        unit_ids=planned_ids(plan),
        video_ids=progress.track_ids(plan) if tracking else (),
        inputs=inputs,
        seconds=round(seconds, 3),
        failures=_failures(plan, progress),
        host=progress.hosts(),
    )


def _failures(plan: Plan, progress: Progress) -> list[Failure]:
    """Why work has no detections, as far as this attempt found out."""
    uris = {unit.unit_id: unit.file.uri for unit in plan.units}
    unreadable = [
        Failure(
            unit_id=each.unit_id,
            video_uri=each.file.uri,
            reason=each.reason,
            message=each.message,
        )
        for each in plan.unreadable
    ]
    return unreadable + [
        Failure(
            unit_id=report.unit_id,
            video_uri=uris[report.unit_id],
            reason=report.reason,
            message=report.message,
        )
        for report in progress.reports.values()
        if report.outcome == "Quarantined"
    ]


def job_result(
    manifest: Manifest,
    plan: Plan,
    progress: Progress,
    *,
    output: str,
    seconds: float,
    working: float = 0.0,
) -> JobResult:
    """How the job ended.

    Args:
        manifest: of the finished output.
        plan: of the job.
        progress: with the reports of this attempt.
        output: where the result is.
        seconds: that this attempt took.
        working: those of them in which Spark ran.
    """
    frames = sum(report.frames for report in progress.reports.values())
    return JobResult(
        phase=manifest.phase,
        frames=plan.total_frames,
        seconds=seconds,
        fps=frames / working if working else 0.0,
        model_copies=len(progress.hosts()),
        detections=manifest.totals.detections,
        tracks=manifest.totals.tracks,
        quarantined=manifest.totals.quarantined_units,
        output=output,
    )
