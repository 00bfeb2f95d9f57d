"""The Spark program: from an InferenceJob to its result, whatever was done before.

The order is what makes a job safe to kill at any point and run again: resolve the model, plan all
input, claim the output folder, drop what the plan no longer has, detect and track what is missing,
and finish with contact sheet, manifest and `_SUCCESS`. Nothing is written before the plan exists,
and nothing but `_SUCCESS` says that the job is done.
"""

from __future__ import annotations

import time
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
from carpool.outputs.ownership import Claimant, claim
from carpool.plan.identity import fingerprint
from carpool.plan.planner import plan_videos
from carpool.plan.units import Plan
from carpool.spark.conclusion import finished_work, job_result
from carpool.spark.illustrate import commit_contact_sheet
from carpool.spark.job_context import JobContext, Tracking
from carpool.spark.local_host import local_host
from carpool.spark.pipeline import Pipeline
from carpool.spark.progress import Progress, progress_so_far
from carpool.spark.reporter import Reporter
from carpool.spark.result import JobResult
from carpool.spark.run_directory import RunDirectory, run_directory
from carpool.spark.session import local_spark
from carpool.spec import InferenceJob, check_runnable, spark_memory
from carpool.vision.model import ResolvedModel, resolve_model
from carpool.vision.tracking import ByteTrackParameters

HOST_TIMEOUT_SECONDS = 300.0


def run_job(job: InferenceJob, reporter: Reporter, *, job_uid: str | None = None) -> JobResult:
    """Run a job on this machine to its end.

    Args:
        job: a valid job.
        reporter: hears of the progress.
        job_uid: the same for every attempt of a job; by default this run is a job of its own.

    Returns:
        How it ended; a job that failed is a result too, with its reason.

    Raises:
        KeyboardInterrupt: interrupted; no process is left and the output can be resumed.
    """
    started = time.monotonic()
    with run_directory() as directory:
        try:
            return _run(job, reporter, job_uid or str(uuid4()), directory, started)
        except CarpoolError as error:
            if directory.has_logs():
                directory.keep = True
                reporter.note(f"Logs of Spark and the model host: {directory.path}")
            return JobResult(
                phase="Failed",
                seconds=time.monotonic() - started,
                output=job.spec.output.uri,
                reason=error.reason,
                message=str(error),
            )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is known of a job before anything is written."""

    model: ResolvedModel
    tracking: Tracking | None
    settings: dict[str, Any]
    fingerprint: str
    plan: Plan


def _run(
    job: InferenceJob, reporter: Reporter, job_uid: str, directory: RunDirectory, started: float
) -> JobResult:
    check_runnable(job)
    reporter.phase("Planning")
    storage = StorageOptions(endpoint=job.spec.storage.endpoint, region=job.spec.storage.region)
    prepared = _prepare(job, storage, directory.path, reporter)
    if job.spec.failure_policy.bad_inputs == "Fail" and prepared.plan.unreadable:
        first = prepared.plan.unreadable[0]
        raise error_of_reason(first.reason, first.message)
    folder = OutputFolder(job.spec.output.uri, storage)
    _claim(job, prepared, folder, job_uid)
    plan, tracking = prepared.plan, prepared.tracking
    progress = progress_so_far(plan, tracking, folder, job_uid)
    done = sum(unit.expected for unit in plan.units if progress.ended(unit.unit_id))
    reporter.planned(
        total=plan.total_frames, done=done, videos=len(plan.videos), units=len(plan.units)
    )
    if progress.is_complete(plan, tracking) and is_complete(folder):
        manifest = read_manifest(folder)
        if manifest is not None:
            reporter.note("Everything was done before")
            seconds = time.monotonic() - started
            return job_result(manifest, plan, progress, output=folder.uri, seconds=seconds)
    began = time.monotonic()
    if not progress.is_complete(plan, tracking):
        reopen(folder)
        _run_spark(job, prepared, progress, storage, directory.path, reporter)
    working = time.monotonic() - began
    reporter.phase("Finishing")
    commit_contact_sheet(folder, plan, storage, directory.path / "scratch")
    work = finished_work(plan, tracking, progress, time.monotonic() - started)
    manifest = finish(folder, job_uid, work)
    seconds = time.monotonic() - started
    return job_result(manifest, plan, progress, output=folder.uri, seconds=seconds, working=working)


def _prepare(
    job: InferenceJob, storage: StorageOptions, directory: Path, reporter: Reporter
) -> _Prepared:
    """Read everything the job depends on; refuse whatever can be refused before Spark starts."""
    video = job.spec.input.video
    model = resolve_model(job.spec.model, storage, directory)
    model.build_handler()
    tracking = None
    if job.spec.tracking is not None:
        ByteTrackParameters.from_mapping(job.spec.tracking.parameters)
        tracking = Tracking(
            parameters=job.spec.tracking.parameters,
            fingerprint=fingerprint(job.spec.tracking.model_dump(mode="json", by_alias=True)),
        )
    settings = model.facts() | {"input": {"video": {"everyNthFrame": video.every_nth_frame}}}
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


def _claim(job: InferenceJob, prepared: _Prepared, folder: OutputFolder, job_uid: str) -> None:
    tracking = prepared.tracking
    claimant = Claimant(
        job_uid=job_uid,
        job_name=job.metadata.name,
        fingerprint=prepared.fingerprint,
        settings=prepared.settings,
        tracking_fingerprint=tracking.fingerprint if tracking else "",
        tracking_settings=dict(tracking.parameters) if tracking else {},
    )
    claim(folder, job.spec.output.mode, claimant)


def _run_spark(  # noqa: PLR0917 - the six pieces of a run, each of another type
    job: InferenceJob,
    prepared: _Prepared,
    progress: Progress,
    storage: StorageOptions,
    directory: Path,
    reporter: Reporter,
) -> None:
    spec = job.spec
    cores = spec.spark.executor.cores
    reporter.phase("Starting")
    with (
        local_host(spec, prepared.model, directory, clients=cores) as model_key,
        local_spark(
            job.metadata.name,
            cores=cores,
            memory=spark_memory(spec.spark.driver.memory),
            run_directory=directory,
            conf=spec.spark.conf,
        ) as spark,
    ):
        context = JobContext(
            output_uri=spec.output.uri,
            storage=storage,
            scratch=directory / "scratch",
            host_directory=directory,
            handler=prepared.model.handler,
            parameters=prepared.model.parameters,
            model_key=model_key,
            host_timeout=HOST_TIMEOUT_SECONDS,
            quarantine=spec.failure_policy.bad_inputs == "Quarantine",
            tracking=prepared.tracking,
        )
        Pipeline(
            spark,
            context,
            prepared.plan,
            progress,
            reporter,
            max_bad_percent=spec.failure_policy.max_bad_percent,
        ).run()
