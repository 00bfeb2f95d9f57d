"""The detect task: one work unit in, one committed file (or one quarantine row) out.

Frames never leave the task as Spark data: they are decoded and resized straight into the slots of
the shared model host. A unit is committed whole or not at all, and what is committed depends on
nothing but unit, model and parameters, so running it twice is harmless. An error that could pass is
raised, for Spark to try again; one that cannot is reported, for the driver to end the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.accumulators import Accumulator

from carpool.errors import BadInput, CarpoolError, HandlerError, InferenceFailed
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.launch import ensure_host
from carpool.host.sidecar import await_host
from carpool.inputs.proof import decode_unit
from carpool.inputs.video_decode import Frame
from carpool.outputs.folder import OutputFolder
from carpool.outputs.ownership import assert_owner
from carpool.outputs.tables import detections_table
from carpool.outputs.units import QuarantineRow, UnitFacts, commit_quarantine, commit_unit
from carpool.plan.units import WorkUnit
from carpool.spark.job_context import JobContext
from carpool.spark.own_host import claim_host
from carpool.spark.reports import UnitReport, own_executor
from carpool.spark.retrying import pause_before_retry
from carpool.spark.worker_process import keep_to_one_core, keep_what_is_loaded
from carpool.vision.handler import Handler, Rows, build_handler

_Tag = tuple[int, int, Any]
"""A frame on its way: its index, its pts in nanoseconds, and what `preprocess` returned for it."""


def run_detect(units: Iterable[WorkUnit], context: JobContext, outbox: Accumulator[Any]) -> None:
    """Run the units of one partition and send a report for each (Spark's `foreachPartition`)."""
    keep_to_one_core()
    for unit in units:
        outbox.add([detect_unit(unit, context)])
    keep_what_is_loaded()


def detect_unit(unit: WorkUnit, context: JobContext) -> UnitReport:
    """Detect on one unit and commit its result.

    Raises:
        CarpoolError: a retryable one; Spark runs the task again.
    """
    started = time.monotonic()
    report = partial(
        UnitReport, unit.unit_id, unit.video_id, frames=unit.expected, executor=own_executor()
    )
    try:
        folder = OutputFolder(context.output_uri, context.storage)
        handler = build_handler(context.handler, context.parameters)
        try:
            found, host = _infer(unit, handler, context)
        except BadInput as bad:
            if not context.quarantine:
                raise
            seconds = time.monotonic() - started
            assert_owner(folder, context.job_uid)
            if _quarantine(folder, unit, bad, seconds) is None:
                return report(outcome="Committed")  # by another run of this very unit
            return report(
                outcome="Quarantined", reason=bad.reason, message=str(bad), seconds=seconds
            )
        facts = UnitFacts(
            unit_id=unit.unit_id,
            video_uri=unit.file.uri,
            first_frame=unit.frames.first,
            frames=unit.expected,
            seconds=round(time.monotonic() - started, 3),
            host=host,
        )
        assert_owner(folder, context.job_uid)
        _commit(folder, unit, handler, found, facts)
    except CarpoolError as error:
        if error.retryable:
            pause_before_retry()
            raise
        return report(outcome="Failed", reason=error.reason, message=str(error))
    return report(outcome="Committed", rows=len(found), host=host, seconds=facts.seconds)


@dataclass(slots=True)
class _Rows:
    """The detections of a unit as they gather, frame by frame, in order."""

    frame_index: list[int] = field(default_factory=list)
    pts_ns: list[int] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows)

    def add(self, index: int, pts_ns: int, rows: Rows) -> None:
        self.frame_index.append(index)
        self.pts_ns.append(pts_ns)
        self.rows.append(rows)


def _infer(unit: WorkUnit, handler: Handler, context: JobContext) -> tuple[_Rows, dict[str, Any]]:
    """Decode a unit and send its frames through the host: its detections, in frame order."""
    found = _Rows()
    with _host_client(context, handler) as client:
        with closing(
            decode_unit(
                unit.file,
                unit.frames,
                unit.every_nth,
                storage=context.storage,
                scratch=context.scratch,
            )
        ) as frames:
            for done in _pipeline(client, handler, frames):
                _collect(done, handler, found)
        return found, client.statistics()


def _pipeline(client: HostClient, handler: Handler, frames: Iterator[Frame]) -> Iterator[Completed]:
    """Keep the host fed: fill slot after slot, and hand on what has been answered meanwhile."""
    slot, tags = None, list[_Tag]()
    for frame in frames:
        if slot is None:
            slot, tags = client.acquire(), list[_Tag]()
        with _blaming(handler, "preprocess", frame.index):
            info = handler.preprocess(frame.image, slot.items[len(tags)])
        tags.append((frame.index, frame.pts_ns, info))
        if len(tags) == len(slot.items):
            client.submit(slot, len(tags), tags)
            slot = None
            yield from client.completed()
    if slot is not None:
        client.submit(slot, len(tags), tags)
    yield from client.drain()


def _collect(done: Completed, handler: Handler, found: _Rows) -> None:
    for (index, pts_ns, info), rows in zip(done.tag, done.rows, strict=True):
        if isinstance(rows, ItemFailure):
            raise _frame_error(rows, index, given=len(found.frame_index))
        with _blaming(handler, "postprocess", index):
            found.add(index, pts_ns, _checked(handler.postprocess(rows, info), handler.class_names))


@contextmanager
def _blaming(handler: Handler, step: str, index: int) -> Iterator[None]:
    """Turn whatever a user's code raises into an error that names it; running it again won't help.

    Raises:
        HandlerError: the step raised something that is no error of Carpool's.
    """
    try:
        yield
    except CarpoolError:
        raise
    except Exception as error:
        raise HandlerError(
            f"{type(handler).__qualname__}.{step} failed on frame {index}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _checked(rows: Any, class_names: Sequence[str]) -> Rows:
    """The rows of a frame as `postprocess` must return them."""
    found = np.asarray(rows, np.float32)
    if found.ndim != 2 or found.shape[1] != 6:
        raise ValueError(f"it returned an array of shape {found.shape}, expected [k, 6]")
    if not np.isfinite(found).all():
        raise ValueError("it returned a number that is not finite")
    classes = found[:, 5]
    if len(found) and (classes.min() < 0 or classes.max() >= max(1, len(class_names))):
        raise ValueError(
            f"it returned class {classes.max():g}; class_names has {len(class_names)} names"
        )
    return found


def _frame_error(failure: ItemFailure, index: int, *, given: int) -> CarpoolError:
    """The error of a frame the model gave no rows for; only what the frame caused is bad input."""
    error = failure.error()
    message = f"frame {index}: {error}"
    if isinstance(error, InferenceFailed):
        return InferenceFailed(message, frames_given=given)
    return type(error)(message)


def _commit(
    folder: OutputFolder,
    unit: WorkUnit,
    handler: Handler,
    found: _Rows,
    facts: UnitFacts,
) -> None:
    counts = [len(rows) for rows in found.rows]
    table = detections_table(
        video_uri=unit.file.uri,
        unit_id=unit.unit_id,
        frame_index=np.repeat(np.asarray(found.frame_index, np.int64), counts),
        pts_ns=np.repeat(np.asarray(found.pts_ns, np.int64), counts),
        rows=np.concatenate(found.rows) if found.rows else np.empty((0, 6), np.float32),
        class_names=handler.class_names,
    )
    commit_unit(folder, unit.unit_id, table, facts)


def _quarantine(
    folder: OutputFolder, unit: WorkUnit, bad: BadInput, seconds: float
) -> UnitFacts | None:
    return commit_quarantine(
        folder,
        QuarantineRow(
            unit_id=unit.unit_id,
            video_uri=unit.file.uri,
            first_frame=unit.frames.first,
            frames=unit.expected,
            reason=bad.reason,
            message=str(bad),
            frames_given=bad.frames_given,
            frames_expected=unit.expected,
            seconds=seconds,
        ),
    )


_CLIENTS: dict[tuple[Path, str], HostClient] = {}
"""Spark reuses its Python workers: a worker keeps its connection, and its arena, across tasks."""


@contextmanager
def _host_client(context: JobContext, handler: Handler) -> Iterator[HostClient]:
    """This worker's connection to the model host of its machine, or to its own."""
    directory = context.host_directory
    if context.own_hosts:
        directory = claim_host(context.own_hosts, context.host_timeout)
    key = (directory, context.model_key)
    client = _CLIENTS.pop(key, None)
    if client is None:
        find_host = await_host if context.host_is_sidecar else ensure_host
        revive = partial(find_host, directory)
        client = HostClient(
            revive(),
            model_key=context.model_key,
            item_shape=handler.input_shape,
            output_rows=handler.output_rows,
            row_width=handler.row_width,
            host_timeout=context.host_timeout,
            revive=revive,
        )
    try:
        yield client
    except BaseException:
        # Requests may be in flight whose answers belong to nobody; a new connection has none.
        client.close()
        raise
    _CLIENTS[key] = client
