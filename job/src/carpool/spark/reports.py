"""What tasks tell the driver, and the way it travels.

Spark gives results of a job back in partition order, or all at the end. The driver needs them as
they come, in any order: for progress, and to track a video as soon as its last unit is there. An
accumulator does exactly that: Spark delivers its updates with the end of each successful task, and
all of them before the job is reported as ended. A task that Spark runs twice may be delivered
twice, so a report names its unit and whoever reads it must be idempotent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal

from pyspark import SparkContext
from pyspark.accumulators import Accumulator, AccumulatorParam

DRIVER = "driver"
"""Spark's id of the executor of a local run, which is the driver itself."""


def own_executor() -> str:
    """Spark's id of the executor that this task runs on.

    Spark tells Python workers nothing of it, but its executors on Kubernetes are started with this
    variable, and their workers have it from them.
    """
    return os.environ.get("SPARK_EXECUTOR_ID", DRIVER)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """How one work unit ended.

    Attributes:
        unit_id: the unit.
        video_id: the video it belongs to.
        outcome: Committed (its detections are written), Quarantined (its quarantine row is
            written), or Failed (nothing is written and the job has to end: not retryable).
        frames: frames of the unit that count as done.
        rows: detections written.
        reason: CamelCase reason where the outcome is not Committed.
        message: one sentence for the user where the outcome is not Committed.
        host: the model host's statistics as the unit ended (see `carpool.host.statistics`).
        executor: id of the executor whose task it was.
        seconds: how long the unit took in its task.
    """

    unit_id: str
    video_id: str
    outcome: Literal["Committed", "Quarantined", "Failed"]
    frames: int
    rows: int = 0
    reason: str = ""
    message: str = ""
    host: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    executor: str = DRIVER


@dataclass(frozen=True, slots=True)
class TrackReport:
    """How the tracking of one video ended.

    Attributes:
        track_id: name of the video's track tables.
        outcome: Committed, or Failed (the job has to end: not retryable).
        rows: tracked detections written.
        tracks: tracks written to the summary.
        reason: CamelCase reason where it failed.
        message: one sentence for the user where it failed.
    """

    track_id: str
    outcome: Literal["Committed", "Failed"]
    rows: int = 0
    tracks: int = 0
    reason: str = ""
    message: str = ""


class Inbox:
    """The driver's end: reports in the order in which Spark delivered them."""

    def __init__(self, spark: SparkContext) -> None:
        self._queue: SimpleQueue[UnitReport] = SimpleQueue()
        self.outbox: Accumulator[Any] = spark.accumulator(self, _Delivery())

    def put(self, report: UnitReport) -> None:
        """Add one report; called by Spark's accumulator server."""
        self._queue.put(report)

    def take(self, timeout: float) -> Iterator[UnitReport]:
        """Yield what is there; wait up to `timeout` seconds for the first report."""
        try:
            yield self._queue.get(timeout=timeout)
            while True:
                yield self._queue.get_nowait()
        except Empty:
            return


class _Delivery(AccumulatorParam[Any]):
    """In a task, updates gather in a list; on the driver, each lands in the inbox."""

    def zero(self, value: Any) -> list[UnitReport]:  # noqa: ARG002 - Spark's signature
        return []

    def addInPlace(self, value1: Any, value2: list[UnitReport]) -> Any:  # noqa: N802 - Spark's name
        if isinstance(value1, Inbox):
            for report in value2:
                value1.put(report)
        else:
            value1.extend(value2)
        return value1
