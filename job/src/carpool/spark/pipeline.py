"""The two stages of a job on Spark: detection of all units, tracking of each whole video.

One Spark job detects all units that are not committed yet; each video is tracked by a small job of
its own as soon as its last unit has ended, in a pool of its own, so that tracking neither waits for
the rest of detection nor holds it up. What must stay true: every decision rests on what is
committed in the output folder (or was reported as committed), so a pipeline that starts over after
any kill does exactly what is missing.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException

from carpool.errors import (
    CarpoolError,
    HandlerError,
    InferenceFailed,
    OutputUnavailable,
    SparkFailed,
    error_of_reason,
)
from carpool.outputs.folder import OutputFolder
from carpool.outputs.ownership import assert_owner
from carpool.outputs.units import forget_quarantined
from carpool.plan.units import Plan, VideoPlan
from carpool.spark.detect import run_detect
from carpool.spark.executors import registered_executors
from carpool.spark.failure_policy import BadInputPolicy
from carpool.spark.job_context import JobContext
from carpool.spark.progress import Progress
from carpool.spark.reporter import Reporter, Setback
from carpool.spark.reports import Inbox, TrackReport, UnitReport
from carpool.spark.track import TrackWork, track_task

AnyReport = TypeVar("AnyReport", UnitReport, TrackReport)

POLL_SECONDS = 0.2
OWNER_CHECK_SECONDS = 10.0
COUNT_SECONDS = 2.0
TRACK_JOBS = 8
"""Track jobs submitted to Spark at once; how many run is up to Spark's free cores."""


class Pipeline:
    """Runs what is missing of a plan on Spark."""

    def __init__(
        self,
        spark: SparkContext,
        context: JobContext,
        plan: Plan,
        progress: Progress,
        reporter: Reporter,
        *,
        policy: BadInputPolicy,
    ) -> None:
        self._spark = spark
        self._context = context
        self._plan = plan
        self._progress = progress
        self._reporter = reporter
        self._policy = policy
        self._inbox = Inbox(spark)
        self._folder = OutputFolder(context.output_uri, context.storage)
        self._next_owner_check = 0.0
        self._next_count = 0.0
        self._stopping = False
        self._waiting = {
            video.video_id: {u.unit_id for u in video.units if not progress.ended(u.unit_id)}
            for video in plan.videos
        }
        self._videos = {video.video_id: video for video in plan.videos}
        self._detection: list[Future[None]] = []
        self._tracking: list[Future[TrackReport]] = []

    def run(self) -> None:
        """Detect and track until everything of the plan is committed or quarantined.

        Raises:
            CarpoolError: the job has failed; nothing of it runs any more.
        """
        with ThreadPoolExecutor(TRACK_JOBS + 1, thread_name_prefix="spark-job") as pool:
            try:
                self._run(pool)
            except BaseException:
                self._stop()
                raise

    def _stop(self) -> None:
        """Have no job run any more; one on its way to Spark is cancelled when it is there."""
        self._stopping = True
        jobs: list[Future[Any]] = [*self._tracking, *self._detection]
        for future in jobs:
            future.cancel()
        while wait(jobs, timeout=POLL_SECONDS).not_done:
            # Spark may have gone, which is then why we stop.
            with suppress(Py4JError, OSError):
                self._spark.cancelAllJobs()

    def _run(self, pool: ThreadPoolExecutor) -> None:
        missing = [u for u in self._plan.units if not self._progress.ended(u.unit_id)]
        self._reporter.phase("Detecting" if missing else "Tracking")
        detection = pool.submit(self._detect, missing)
        self._detection.append(detection)
        for video in self._plan.videos:
            self._track_if_whole(video, pool)
        while not detection.done():
            self._take_reports(pool)
            self._look_around()
            for future in self._tracking:
                if future.done():
                    _accepted(_result(future))
        _result(detection)
        # Spark delivers every update of a job before it reports the job as ended.
        self._take_reports(pool, timeout=0.0)
        self._refuse_a_model_that_never_worked()
        if missing and self._tracking:
            self._reporter.phase("Tracking")
        for future in self._tracking:
            while wait([future], timeout=POLL_SECONDS).not_done:
                self._look_around()
            self._progress.tracked.add(_accepted(_result(future)).track_id)

    def _detect(self, units: list[Any]) -> None:
        if units and not self._stopping:
            self._spark.setLocalProperty("spark.scheduler.pool", "detect")
            self._spark.setJobDescription("detect")
            self._spark.parallelize(units, len(units)).foreachPartition(
                partial(run_detect, context=self._context, outbox=self._inbox.outbox)
            )

    def _take_reports(self, pool: ThreadPoolExecutor, timeout: float = POLL_SECONDS) -> None:
        for report in self._inbox.take(timeout):
            _accepted(report)
            if self._progress.ended(report.unit_id):
                continue  # a task that Spark ran twice
            self._progress.reports[report.unit_id] = report
            video = self._videos[report.video_id]
            if report.host:
                self._reporter.served(report.executor, report.host)
            if report.outcome == "Committed":
                self._progress.committed.add(report.unit_id)
                self._reporter.advanced(report.frames)
            else:
                self._progress.quarantined.add(report.unit_id)
                self._reporter.quarantined(
                    Setback(report.reason, report.message, video.file.uri, report.frames)
                )
                self._policy.check(self._plan, self._progress)
            self._waiting[report.video_id].discard(report.unit_id)
            self._track_if_whole(video, pool)

    def _refuse_a_model_that_never_worked(self) -> None:
        """Where the model failed on every unit, it is the model that is bad, not the input.

        Raises:
            HandlerError: with what the model said last.
        """
        reports = self._progress.reports.values()
        if not reports or any(report.reason != InferenceFailed.__name__ for report in reports):
            return
        failed = {report.unit_id for report in reports}
        forget_quarantined(self._folder, failed, ())
        self._progress.quarantined -= failed
        message = next(iter(reports)).message
        raise HandlerError(f"the model failed on every one of {len(failed)} work units: {message}")

    def _look_around(self) -> None:
        """See now and then who takes tasks, and whether the folder is still ours.

        Tasks check the folder too, before they write.
        """
        now = time.monotonic()
        if now >= self._next_count:
            self._next_count = now + COUNT_SECONDS
            with suppress(Py4JError, OSError):  # Spark's end is noticed by its jobs
                self._reporter.executors(registered_executors(self._spark))
        if now >= self._next_owner_check:
            self._next_owner_check = now + OWNER_CHECK_SECONDS
            with suppress(OutputUnavailable):  # the next look will tell
                assert_owner(self._folder, self._context.job_uid)

    def _track_if_whole(self, video: VideoPlan, pool: ThreadPoolExecutor) -> None:
        if self._context.tracking is None or self._waiting[video.video_id]:
            return
        work = TrackWork.of(video, self._progress.committed)
        if work.track_id not in self._progress.tracked:
            self._tracking.append(pool.submit(self._track, work))

    def _track(self, work: TrackWork) -> TrackReport:
        self._spark.setLocalProperty("spark.scheduler.pool", "track")
        self._spark.setJobDescription(f"track {work.video.file.path}")
        task = partial(track_task, context=self._context)
        report: TrackReport
        [report] = self._spark.parallelize([work], 1).mapPartitions(task).collect()
        return report


def _accepted(report: AnyReport) -> AnyReport:
    """The report, unless it says that the job cannot go on.

    Raises:
        CarpoolError: the error that the task met, by its reason.
    """
    if report.outcome == "Failed":
        raise error_of_reason(report.reason, report.message)
    return report


def _result(future: Future[Any]) -> Any:
    """The future's result, with Spark's wrapping of a task's error taken off."""
    try:
        return future.result()
    except (Py4JError, PySparkException) as error:
        raise _task_error(str(error)) from error
    except OSError as error:
        raise SparkFailed(f"Spark's JVM has ended: {error}") from error


_CARPOOL_ERROR = re.compile(r"^carpool\.errors\.(\w+): (.*)$", re.MULTILINE)


def _task_error(text: str) -> CarpoolError:
    """The error that a task raised at its last attempt, read from Spark's report of the failure."""
    found = _CARPOOL_ERROR.findall(text)
    if found:
        reason, message = found[-1]
        return error_of_reason(reason, message)
    # The last traceback is the task's own; its first line that is not indented says what.
    lines = text.rpartition("Traceback (most recent call last):")[2].splitlines()
    words = (line.strip() for line in lines if line.strip() and not line.startswith(" "))
    return SparkFailed(f"a Spark task failed: {next(words, 'Spark gives no reason')}")
