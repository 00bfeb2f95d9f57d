"""The Spark program: from an InferenceJob to its result, whatever was done before.

The order is what makes a job safe to kill at any point and run again: resolve the model, plan all
input, claim the output folder, drop what the plan no longer has, detect and track what is missing,
and finish with contact sheet, manifest and `_SUCCESS`. Nothing is written before the plan exists,
and nothing but `_SUCCESS` says that the job is done.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from carpool.errors import CarpoolError, error_of_reason
from carpool.inputs.filesystem import StorageOptions, expand
from carpool.outputs.completion import is_complete, reopen
from carpool.outputs.finish import finish
from carpool.outputs.folder import OutputFolder
from carpool.outputs.manifest import read_manifest
from carpool.outputs.ownership import Claimant, as_next_attempt, claim
from carpool.plan.identity import fingerprint
from carpool.plan.planner import plan_videos
from carpool.plan.units import Plan
from carpool.spark.conclusion import finished_work, job_result
from carpool.spark.executors import Executors, LocalExecutors, RunningExecutors
from carpool.spark.failure_policy import BadInputPolicy
from carpool.spark.illustrate import commit_contact_sheet
from carpool.spark.job_context import JobContext, Tracking
from carpool.spark.local_host import loaded_hosts
from carpool.spark.pipeline import Pipeline
from carpool.spark.progress import forget_all_quarantined, progress_so_far
from carpool.spark.reporter import Reporter, Setback
from carpool.spark.result import JobResult
from carpool.spark.retrying import retrying
from carpool.spark.run_directory import RunDirectory, run_directory
from carpool.spec import InferenceJob, check_runnable
from carpool.vision.handler import check_handler
from carpool.vision.model import ResolvedModel, resolve_model
from carpool.vision.tracking import ByteTrackParameters

HOST_TIMEOUT_SECONDS = 300.0


def run_job(
    job: InferenceJob,
    reporter: Reporter,
    *,
    executors: Executors | None = None,
    job_uid: str | None = None,
    retry_quarantined: bool = False,
) -> JobResult:
    """Run a job to its end.

    Args:
        job: a valid job.
        reporter: hears of the progress.
        executors: where its tasks run; by default on this machine.
        job_uid: the same for every attempt of a job; by default this run goes on with the job of
            the same name and settings that left the folder unfinished, else it is a new one.
        retry_quarantined: whether what an earlier attempt put into quarantine is tried again.

    Returns:
        How it ended; a job that failed is a result too, with its reason.

    Raises:
        KeyboardInterrupt: interrupted; no process is left and the output can be resumed.
    """
    started = time.monotonic()
    with run_directory() as directory:
        try:
            where = executors or LocalExecutors()
            return _run(job, reporter, where, job_uid, directory, started, retry_quarantined)
        except CarpoolError as error:
            reason, message, retryable = error.reason, str(error), error.retryable
        except Exception as error:  # noqa: BLE001 - a bug of ours still ends as a result, with a log
            (directory.path / "driver.log").write_text(traceback.format_exc())
            reason, message = "InternalError", f"{type(error).__name__}: {error}"
            retryable = True  # what nobody foresaw may be the machine's fault
        if directory.has_logs():
            directory.keep = True
            reporter.note(f"Logs of Spark and the model host: {directory.path}")
        return JobResult(
            phase="Failed",
            seconds=time.monotonic() - started,
            output=job.spec.output.uri,
            reason=reason,
            message=message,
            retryable=retryable,
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is known of a job before anything is written."""

    model: ResolvedModel
    tracking: Tracking | None
    settings: dict[str, Any]
    fingerprint: str
    plan: Plan


def _run(  # noqa: PLR0917 - called once
    job: InferenceJob,
    reporter: Reporter,
    executors: Executors,
    job_uid: str | None,
    directory: RunDirectory,
    started: float,
    retry_quarantined: bool,
) -> JobResult:
    check_runnable(job)
    reporter.phase("Planning")
    for note in executors.ignored(job):
        reporter.note(note)
    storage = StorageOptions(endpoint=job.spec.storage.endpoint, region=job.spec.storage.region)
    prepared = retrying(lambda: _prepare(job, storage, directory.path, reporter))
    plan, tracking = prepared.plan, prepared.tracking
    policy = BadInputPolicy(
        quarantine=job.spec.failure_policy.bad_inputs == "Quarantine",
        max_percent=job.spec.failure_policy.max_bad_percent,
    )
    if plan.unreadable and not policy.quarantine:
        first = plan.unreadable[0]
        raise error_of_reason(
            first.reason,
            f"{first.message}; remove it, or set spec.failurePolicy.badInputs to Quarantine",
        )
    folder = OutputFolder(job.spec.output.uri, storage)
    owner = retrying(lambda: _claim(job, prepared, folder, job_uid))
    if retry_quarantined:
        retrying(lambda: forget_all_quarantined(folder))
    progress = retrying(lambda: progress_so_far(plan, tracking, folder, owner))
    policy.check(plan, progress)
    done = sum(unit.expected for unit in plan.units if progress.ended(unit.unit_id))
    failed = sum(unit.expected for unit in plan.units if unit.unit_id in progress.quarantined)
    reporter.planned(
        total=plan.total_frames,
        done=done,
        failed=failed,
        videos=len(plan.videos),
        units=len(plan.units),
    )
    for each in plan.unreadable:
        reporter.quarantined(Setback(each.reason, each.message, each.file.uri, frames=0))
    if progress.is_complete(plan, tracking) and is_complete(folder):
        manifest = read_manifest(folder)
        if manifest is not None:
            reporter.note("Everything was done before")
            seconds = time.monotonic() - started
            return job_result(manifest, plan, progress, output=folder.uri, seconds=seconds)
    began = time.monotonic()
    if not progress.is_complete(plan, tracking):
        reopen(folder)
        reporter.phase("Starting")
        with executors.started(job, prepared.model, directory.path) as running:
            context = _context(job, prepared, owner, running)
            pipeline = Pipeline(running.spark, context, plan, progress, reporter, policy=policy)
            pipeline.run()
            progress.loaded = loaded_hosts(running.local_hosts)
    working = time.monotonic() - began
    reporter.phase("Finishing")
    _illustrate(folder, plan, storage, directory.path / "scratch", reporter)
    work = finished_work(plan, tracking, progress, time.monotonic() - started)
    manifest = retrying(lambda: finish(folder, owner, work))
    seconds = time.monotonic() - started
    return job_result(manifest, plan, progress, output=folder.uri, seconds=seconds, working=working)


def _prepare(
    job: InferenceJob, storage: StorageOptions, directory: Path, reporter: Reporter
) -> _Prepared:
    """Read everything the job depends on; refuse whatever can be refused before Spark starts."""
    video = job.spec.input.video
    model = resolve_model(job.spec.model, storage, directory)
    check_handler(model.handler, model.build_handler())
    tracking = None
    if job.spec.tracking is not None:
        ByteTrackParameters.from_mapping(job.spec.tracking.parameters)
        tracking = Tracking(
            parameters=job.spec.tracking.parameters,
            fingerprint=fingerprint(job.spec.tracking.model_dump(mode="json", by_alias=True)),
        )
    settings = model.facts() | {
        "input": {"video": {"everyNthFrame": video.every_nth_frame}},
        "batching": {"deterministic": job.spec.batching.deterministic},
    }
    identity = fingerprint(settings)
    plan = plan_videos(
        expand(job.spec.input.uris, storage),
        chunk_seconds=video.chunk_seconds,
        every_nth=video.every_nth_frame,
        fingerprint=identity,
        storage=storage,
        scratch=directory / "scratch",
        on_indexed=reporter.indexed,
    )
    return _Prepared(model, tracking, settings, identity, plan)


def _claim(
    job: InferenceJob, prepared: _Prepared, folder: OutputFolder, job_uid: str | None
) -> str:
    """Claim the folder; the uid it was claimed under."""
    tracking = prepared.tracking
    claimant = Claimant(
        job_uid=job_uid or str(uuid4()),
        job_name=job.metadata.name,
        fingerprint=prepared.fingerprint,
        settings=prepared.settings,
        tracking_fingerprint=tracking.fingerprint if tracking else "",
        tracking_settings=dict(tracking.parameters) if tracking else {},
    )
    if job_uid is None:
        claimant = as_next_attempt(folder, claimant)
    claim(folder, job.spec.output.mode, claimant)
    return claimant.job_uid


def _illustrate(
    folder: OutputFolder, plan: Plan, storage: StorageOptions, scratch: Path, reporter: Reporter
) -> None:
    try:
        commit_contact_sheet(folder, plan, storage, scratch)
    except Exception as error:  # noqa: BLE001 - the data is complete; it needs no picture
        reporter.note(f"No contact sheet: {type(error).__name__}: {error}")


def _context(
    job: InferenceJob, prepared: _Prepared, job_uid: str, executors: RunningExecutors
) -> JobContext:
    spec = job.spec
    return JobContext(
        job_uid=job_uid,
        output_uri=spec.output.uri,
        storage=StorageOptions(endpoint=spec.storage.endpoint, region=spec.storage.region),
        scratch=executors.scratch,
        host_directory=executors.host_directory,
        handler=prepared.model.handler,
        parameters=prepared.model.parameters,
        host_timeout=HOST_TIMEOUT_SECONDS,
        quarantine=spec.failure_policy.bad_inputs == "Quarantine",
        tracking=prepared.tracking,
        model_key=executors.model_key,
        host_is_sidecar=executors.host_is_sidecar,
        own_hosts=executors.own_hosts,
    )
