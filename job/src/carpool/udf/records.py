"""Rows as fixed-width records, so that rows of all tasks can stand side by side in one batch. Pure.

A record is a packed numpy struct with a field per column: numbers, times and tensors raw, in their
own dtype; anything else (text, binary, decimals, None, arrays of unequal length) pickled, in a
field as long as the longest value needs. What must stay true: a value comes back equal and of the
same type; two clients have the same `schema` exactly if their records can share a batch.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RAW_KINDS = "biufcmM"
"""Kinds of numpy dtypes whose values are their bytes: numbers, booleans, times."""
_SMALLEST = 32
"""Bytes; the least room for a pickled value, so that texts do not make a format each."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a record.

    Attributes:
        dtype: numpy's name of the values' type, such as "<f8"; "|O" for pickled values.
        shape: of one row's value, () for a scalar.
        capacity: bytes for a pickled value; 0 for raw ones.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    capacity: int = 0


@dataclass(frozen=True)
class RecordFormat:
    """How the rows of a task look in shared memory.

    Attributes:
        fields: in the order of the columns.
        tensors: whether a column holds arrays.
        separate: whether the columns were given one by one, not as one struct.
        common: dtype that all columns together have, as pandas decides it.
    """

    fields: tuple[Field, ...]
    tensors: bool
    separate: bool
    common: str

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The packed struct; its fields are named by their position."""
        parts: list[Any] = []
        for position, field in enumerate(self.fields):
            raw = field.capacity == 0
            kind: Any = field.dtype if raw else [("size", "<u4"), ("data", f"S{field.capacity}")]
            parts.append((str(position), kind, field.shape))
        made = np.dtype(parts)
        # Arrays of no elements have no bytes, but a record must have one.
        return made if made.itemsize else np.dtype([*parts, ("none", "u1")])

    @property
    def schema(self) -> str:
        """The format as a text; runs of equal columns once, since hundreds are common."""
        runs: list[list[Any]] = []
        for field in self.fields:
            entry = [field.dtype, list(field.shape), field.capacity]
            if runs and runs[-1][1:] == entry:
                runs[-1][0] += 1
            else:
                runs.append([1, *entry])
        facts = {
            "fields": runs,
            "tensors": self.tensors,
            "separate": self.separate,
            "common": self.common,
        }
        return json.dumps(facts, separators=(",", ":"))

    @classmethod
    def of_schema(cls, schema: str) -> RecordFormat:
        """Read what `schema` gave."""
        found = json.loads(schema)
        fields = [
            field
            for count, dtype, shape, capacity in found["fields"]
            for field in [Field(dtype, tuple(shape), capacity)] * count
        ]
        return cls(tuple(fields), found["tensors"], found["separate"], found["common"])

    def covers(self, other: RecordFormat) -> bool:
        """Whether records of the other format fit this one as they are."""
        return self._alike(other) and all(
            mine.capacity >= its.capacity
            for mine, its in zip(self.fields, other.fields, strict=True)
        )

    def grown(self, other: RecordFormat) -> RecordFormat:
        """The format that holds records of both; the other alone where they are too different."""
        if not self._alike(other):
            return other
        fields = [
            replace(mine, capacity=max(mine.capacity, its.capacity))
            for mine, its in zip(self.fields, other.fields, strict=True)
        ]
        return replace(other, fields=tuple(fields))

    def _alike(self, other: RecordFormat) -> bool:
        mine, its = ([(field.dtype, field.shape) for field in one.fields] for one in (self, other))
        rest = [(one.tensors, one.separate, one.common) for one in (self, other)]
        return mine == its and rest[0] == rest[1]


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a column, ready to be written into records.

    Attributes:
        values: [n, *shape] of raw values, or a list of n pickled ones.
        field: what they need.
    """

    values: NDArray[Any] | list[bytes]
    field: Field

    @classmethod
    def of(cls, values: NDArray[Any]) -> Column:
        """Take an array [n, …]; of objects where its rows are to be pickled one by one."""
        if values.dtype.kind in _RAW_KINDS:
            return cls(values, Field(values.dtype.str, values.shape[1:]))
        pickled = [pickle.dumps(value, 5) for value in values]
        longest = max((len(value) for value in pickled), default=0)
        return cls(pickled, Field("|O", (), room(longest, _SMALLEST)))


def room(needed: int, smallest: int) -> int:
    """The power of two, at least `smallest`, that holds `needed` bytes."""
    return max(smallest, 1 << max(0, needed - 1).bit_length())


def write_records(
    record: RecordFormat, columns: Sequence[Column], start: int, stop: int, out: NDArray[np.uint8]
) -> None:
    """Write rows `start` to `stop` (not included) as records.

    Args:
        record: covers what the columns need.
        columns: of all rows.
        start: the first row.
        stop: the row after the last.
        out: [stop - start, record bytes], contiguous.
    """
    records = out.view(record.dtype)[:, 0]
    for position, column in enumerate(columns):
        part = column.values[start:stop]
        if isinstance(part, list):
            records[str(position)]["size"] = [len(value) for value in part]
            records[str(position)]["data"] = part
        else:
            records[str(position)] = part


def read_records(record: RecordFormat, found: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Read records into columns of their own memory.

    Args:
        record: their format.
        found: [n, record bytes].

    Returns:
        Per column an array [n, *shape]; of objects where values were pickled.
    """
    records = np.ascontiguousarray(found).view(record.dtype)[:, 0]
    columns: list[NDArray[Any]] = []
    for position, field in enumerate(record.fields):
        part = records[str(position)]
        columns.append(_objects(part, field.capacity) if field.capacity else part.copy())
    return columns


def _objects(part: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Open pickled values. They come from a task of the same user, over a socket of mode 0600."""
    raw = memoryview(np.ascontiguousarray(part["data"]).tobytes())
    values = np.empty(len(part), object)
    for row, size in enumerate(part["size"].tolist()):
        begin = row * capacity
        values[row] = pickle.loads(raw[begin : begin + size])  # noqa: S301 - see above
    return values
