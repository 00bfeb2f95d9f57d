"""A task's rows through the executor's host: in Spark's Python worker.

Rows go out as records in slots of shared memory, several requests at a time, and predictions come
back in the order of the rows. What must stay true: each row comes out exactly once and in its
place, also when an arena proves too small and is made anew in the middle; a task that ends early
leaves no request behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.messages import FailureCode
from carpool.udf.columns import PandasBatch, Rows, rows_of
from carpool.udf.executor_host import ExecutorHost
from carpool.udf.records import RecordFormat, room, write_records
from carpool.udf.results import Columns, read_results
from carpool.udf.spec import FunctionSpec, ReturnType

_SCALAR_BYTES = 256
_ARRAY_BYTES = 4096
"""First room for a row's prediction; an arena that proves too small is made anew."""
_MOST_IDLE = 3
"""Connections that a worker keeps between tasks."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows `start` to `stop` (not included) of a pandas batch, on their way."""

    rows: Rows
    start: int
    stop: int


class Connection:
    """One arena with records of one format. Not for use by several threads.

    Attributes:
        function_id: which function it leads to.
        record: the format of its records.
    """

    def __init__(self, spec: FunctionSpec, record: RecordFormat, result_bytes: int) -> None:
        """Find or start the host; the arena is made with the first rows.

        Args:
            spec: the function.
            record: the format of the records.
            result_bytes: room for a row's prediction.

        Raises:
            HostError: as `ExecutorHost.ensure`.
        """
        self.function_id = spec.function_id
        self.record = record
        self._spec = spec
        self._result_bytes = result_bytes
        self._pending: deque[_Chunk] = deque()
        self._client = self._connect()

    def send(self, rows: Rows) -> Iterator[Columns]:
        """Send rows on their way; gives predictions that have come back meanwhile."""
        yield from self._send(_Chunk(rows, 0, rows.count))

    def drain(self) -> Iterator[Columns]:
        """Give the predictions of all rows that are on their way."""
        while self._pending:
            yield from self._receive(self._client.drain())

    def close(self) -> None:
        """End it; predictions that have not come back are forgotten."""
        self._pending.clear()
        self._client.close()

    def _connect(self) -> HostClient:
        host = ExecutorHost(self._spec)
        return HostClient(
            host.ensure(),
            model_key=host.model_key,
            item_shape=(self.record.dtype.itemsize,),
            output_rows=self._result_bytes,
            row_width=1,
            row_dtype="uint8",
            schema=host.schema_name(self.record.schema),
            attempt=self._spec.name,
            revive=host.ensure,
        )

    def _send(self, chunk: _Chunk) -> Iterator[Columns]:
        start = chunk.start
        while start < chunk.stop:
            slot = self._client.acquire()
            part = _Chunk(chunk.rows, start, min(chunk.stop, start + len(slot.items)))
            size = part.stop - part.start
            write_records(self.record, chunk.rows.columns, part.start, part.stop, slot.items[:size])
            self._pending.append(part)
            self._client.submit(slot, size)
            start = part.stop
            yield from self._receive(self._client.completed())

    def _receive(self, completed: Iterable[Completed]) -> Iterator[Columns]:
        for done in completed:
            needed = _needed_bytes(done)
            if needed:
                yield from self._enlarge(needed)
                return
            self._pending.popleft()
            rows: list[Any] = done.rows
            for _, columns in read_results(rows):
                yield columns

    def _enlarge(self, needed: int) -> Iterator[Columns]:
        """Make the arena anew with room for larger predictions, and send again what is pending."""
        self._client.close()
        self._result_bytes = room(needed, self._result_bytes)
        self._client = self._connect()
        pending, self._pending = self._pending, deque()
        for chunk in pending:
            yield from self._send(chunk)


def predict_rows(
    batches: Iterable[PandasBatch], spec: FunctionSpec
) -> Iterator[pd.Series | pd.DataFrame]:
    """Give the predictions for a task's rows, in their order (the body of the pandas UDF).

    Args:
        batches: of the task, as Spark hands them over.
        spec: the function.

    Raises:
        HostStartFailed: the model cannot be loaded; the message is the function's own.
        HandlerError: columns, function and return type do not fit together.
        InferenceFailed: the predict function raised; the message is its own.
        RequestPoisoned: these rows have killed the host three times.
        ValueError: the columns are not what the function can be given.
    """
    connection: Connection | None = None
    try:
        for batch in batches:
            rows = rows_of(batch, spec.input_tensor_shapes)
            if rows is None:
                continue
            if connection is None:
                connection = _IDLE.take(spec, rows.record)
            elif not connection.record.covers(rows.record):
                yield from _as_pandas(connection.drain(), spec.return_type)
                grown = connection.record.grown(rows.record)
                _IDLE.give(connection)
                connection = None
                connection = _IDLE.take(spec, grown)
            yield from _as_pandas(connection.send(rows), spec.return_type)
        if connection is not None:
            yield from _as_pandas(connection.drain(), spec.return_type)
    except BaseException:
        # Requests may be in flight whose answers belong to nobody; a new connection has none.
        if connection is not None:
            connection.close()
        raise
    if connection is not None:
        _IDLE.give(connection)


class _IdleConnections:
    """Spark reuses its Python workers: connections, and their arenas, are kept for later tasks."""

    def __init__(self) -> None:
        self._kept: deque[Connection] = deque()

    def take(self, spec: FunctionSpec, record: RecordFormat) -> Connection:
        """Give one that fits, or a new one."""
        for connection in self._kept:
            if connection.function_id == spec.function_id and connection.record.covers(record):
                self._kept.remove(connection)
                return connection
        return Connection(spec, record, _first_room(spec.return_type))

    def give(self, connection: Connection) -> None:
        """Keep one; nothing of it is on its way."""
        self._kept.append(connection)
        while len(self._kept) > _MOST_IDLE:
            self._kept.popleft().close()


_IDLE = _IdleConnections()


def _first_room(expected: ReturnType) -> int:
    kinds = expected.fields.values() if expected.kind == "struct" else (expected.kind,)
    sizes = (_ARRAY_BYTES if kind == "array" else _SCALAR_BYTES for kind in kinds)
    return room(sum(sizes), _SCALAR_BYTES)


def _needed_bytes(done: Completed) -> int:
    """Room that the largest prediction needs, if one did not fit; 0 if all did.

    Raises:
        CarpoolError: a row has none for another reason.
    """
    failures = [row for row in done.rows if isinstance(row, ItemFailure)]
    for failure in failures:
        if failure.code is not FailureCode.CAPACITY:
            raise failure.error()
    return max((int(failure.message) for failure in failures), default=0)


def _as_pandas(
    found: Iterable[Columns], expected: ReturnType
) -> Iterator[pd.Series | pd.DataFrame]:
    for columns in found:
        series = {name: _series(values) for name, values in columns.items()}
        yield pd.DataFrame(series) if expected.kind == "struct" else series[""]


def _series(values: NDArray[Any]) -> pd.Series:
    """A Series with a row of the array in each place."""
    return pd.Series(list(values) if values.ndim > 1 else values)
