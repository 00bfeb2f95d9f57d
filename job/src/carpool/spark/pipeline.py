"""The two stages of a job on Spark: detection of all units, tracking of each whole video.

One Spark job detects all units that are not committed yet; each video is tracked by a small job of
its own as soon as its last unit has ended, in a pool of its own, so that tracking neither waits for
the rest of detection nor holds it up. What must stay true: every decision rests on what is
committed in the output folder (or was reported as committed), so a pipeline that starts over after
any kill does exactly what is missing.
"""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException

from carpool.errors import CarpoolError, JobFailed, TooManyBadInputs, error_of_reason
from carpool.plan.units import Plan, VideoPlan
from carpool.spark.detect import run_detect
from carpool.spark.job_context import JobContext
from carpool.spark.progress import Progress
from carpool.spark.reporter import Reporter
from carpool.spark.reports import Inbox, TrackReport, UnitReport
from carpool.spark.track import TrackWork, track_task

AnyReport = TypeVar("AnyReport", UnitReport, TrackReport)

POLL_SECONDS = 0.2
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
        max_bad_percent: int,
    ) -> None:
        self._spark = spark
        self._context = context
        self._plan = plan
        self._progress = progress
        self._reporter = reporter
        self._max_bad_percent = max_bad_percent
        self._inbox = Inbox(spark)
        # A file without an index counts as one frame.
        self._frames = dict.fromkeys((each.unit_id for each in plan.unreadable), 1)
        self._frames |= {unit.unit_id: unit.expected for unit in plan.units}
        self._waiting = {
            video.video_id: {u.unit_id for u in video.units if not progress.ended(u.unit_id)}
            for video in plan.videos
        }
        self._videos = {video.video_id: video for video in plan.videos}
        self._tracking: list[Future[TrackReport]] = []

    def run(self) -> None:
        """Detect and track until everything of the plan is committed or quarantined.

        Raises:
            CarpoolError: the job has failed; nothing of it runs any more.
        """
        self._refuse_too_many_bad()
        with ThreadPoolExecutor(TRACK_JOBS + 1, thread_name_prefix="spark-job") as pool:
            try:
                self._run(pool)
            except BaseException:
                for future in self._tracking:
                    future.cancel()
                self._spark.cancelAllJobs()
                raise

    def _run(self, pool: ThreadPoolExecutor) -> None:
        missing = [u for u in self._plan.units if not self._progress.ended(u.unit_id)]
        self._reporter.phase("Detecting" if missing else "Tracking")
        detection = pool.submit(self._detect, missing)
        for video in self._plan.videos:
            self._track_if_whole(video, pool)
        while not detection.done():
            self._take_reports(pool)
        _result(detection)
        # Spark delivers every update of a job before it reports the job as ended.
        self._take_reports(pool, timeout=0.0)
        if missing and self._tracking:
            self._reporter.phase("Tracking")
        for future in self._tracking:
            self._progress.tracked.add(_accepted(_result(future)).track_id)

    def _detect(self, units: list[Any]) -> None:
        if units:
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
            if report.outcome == "Committed":
                self._progress.committed.add(report.unit_id)
            else:
                self._progress.quarantined.add(report.unit_id)
                self._reporter.note(f"Quarantined: {report.message}")
                self._refuse_too_many_bad()
            self._reporter.advanced(report.frames)
            self._waiting[report.video_id].discard(report.unit_id)
            self._track_if_whole(self._videos[report.video_id], pool)

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

    def _refuse_too_many_bad(self) -> None:
        """End the job once more of its frames are bad than it accepts, however the rest goes."""
        bad = sum(self._frames[unit_id] for unit_id in self._progress.quarantined)
        total = sum(self._frames.values())
        if bad * 100 > total * self._max_bad_percent:
            raise TooManyBadInputs(
                f"{bad:,} of {total:,} frames are bad ({100 * bad / total:.1f} %), "
                f"spec.failurePolicy.maxBadPercent allows {self._max_bad_percent} %"
            )


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
    return JobFailed(f"a Spark task failed: {next(words, 'Spark gives no reason')}")
