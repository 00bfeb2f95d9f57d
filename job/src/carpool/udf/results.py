"""Predictions as bytes, a row each, and back. Pure.

A row says itself what it holds, because one batch of a model may give integers and the next floats,
and a request may be spread over both:

    size of header uint32 | header (JSON) | raw fields | objects (one pickled tuple)

The header is the same for all rows of a batch, so both ends work on whole arrays. What must stay
true: values, dtypes and shapes come back as they were; nothing is cut off.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError

Columns = Mapping[str, NDArray[Any]]
"""Predictions by field, each [n, *shape]; the field of a prediction without names is ""."""

_SIZE = np.dtype("<u4")
_RAW_KINDS = "biufcmMSU"
_PLAIN_MODULES = frozenset({"datetime", "decimal", "numpy", "uuid"})
_PLAIN_BUILTINS = frozenset({"bytearray", "complex", "frozenset", "range", "set", "slice"})


def write_results(columns: Columns, count: int) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    """Give the bytes of each row.

    Args:
        columns: of `count` rows.
        count: at least one.

    Returns:
        uint8 [count, bytes, 1] where all rows have the same length, else a list of [bytes, 1].
    """
    raw = {name: values for name, values in columns.items() if values.dtype.kind in _RAW_KINDS}
    objects = [values for name, values in columns.items() if name not in raw]
    fields: list[tuple[str, str, list[int]]] = [
        (name, values.dtype.str, list(values.shape[1:])) if name in raw else (name, "|O", [])
        for name, values in columns.items()
    ]
    header = json.dumps(fields, separators=(",", ":")).encode()
    head = np.frombuffer(np.array(len(header), _SIZE).tobytes() + header, np.uint8)
    layout = _layout(header)
    block = np.empty((count, len(head) + layout.itemsize), np.uint8)
    block[:, : len(head)] = head
    if layout.itemsize:
        packed = np.empty(count, layout)
        for position, (name, *_) in enumerate(fields):
            if str(position) in (layout.names or ()):
                packed[str(position)] = raw[name]
        block[:, len(head) :] = packed.view(np.uint8).reshape(count, layout.itemsize)
    if not objects:
        return block[:, :, None]
    rows = []
    for fixed, values in zip(block, zip(*objects, strict=True), strict=True):
        tail = np.frombuffer(pickle.dumps(values, 5), np.uint8)
        rows.append(np.concatenate([fixed, tail])[:, None])
    return rows


def read_results(rows: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[int, Columns]]:
    """Give the predictions of consecutive rows, as few pieces as their headers allow.

    Args:
        rows: each uint8 [bytes, 1], as `write_results` gave it.

    Yields:
        A number of rows and their columns.

    Raises:
        HandlerError: a prediction holds objects that are no plain values.
    """
    block = _block(rows)
    if block is not None:
        header = _header(rows[0])
        yield len(rows), _columns(block, [], header)
        return
    start = 0
    while start < len(rows):
        header = _header(rows[start])
        stop = start + 1
        while stop < len(rows) and _header(rows[stop]) == header:
            stop += 1
        end = _end_of_fixed(header)
        fixed = np.stack([row[:end, 0] for row in rows[start:stop]])
        tails = [row[end:, 0].tobytes() for row in rows[start:stop]]
        yield stop - start, _columns(fixed, tails, header)
        start = stop


def _block(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    """The rows as one array [n, bytes], if they have one header and no objects."""
    size = len(rows[0])
    if any(len(row) != size for row in rows) or _end_of_fixed(_header(rows[0])) != size:
        return None
    block: NDArray[np.uint8] = np.concatenate(rows).reshape(len(rows), size)
    head = _SIZE.itemsize + len(_header(rows[0]))
    return block if (block[:, :head] == block[0, :head]).all() else None


def _columns(fixed: NDArray[np.uint8], tails: Sequence[bytes], header: bytes) -> Columns:
    """The columns of rows of one header.

    Args:
        fixed: [n, bytes], all but the objects.
        tails: the objects of each row; empty where the header has none.
        header: of them all.
    """
    fields, layout = json.loads(header), _layout(header)
    packed = fixed[:, _SIZE.itemsize + len(header) :].copy()
    records = packed.view(layout)[:, 0] if layout.itemsize else None
    objects = list(zip(*map(_load, tails), strict=True)) if any(tails) else []
    columns: dict[str, NDArray[Any]] = {}
    for position, (name, dtype, shape) in enumerate(fields):
        if dtype == "|O":
            columns[name] = _as_objects(objects.pop(0))
        elif records is not None and str(position) in (layout.names or ()):
            columns[name] = records[str(position)].copy()
        else:  # of no bytes: nothing to read
            columns[name] = np.empty((len(fixed), *shape), dtype)
    return columns


def _as_objects(values: Sequence[Any]) -> NDArray[Any]:
    column = np.empty(len(values), object)
    for row, value in enumerate(values):  # an assignment at once would unpack arrays
        column[row] = value
    return column


def _end_of_fixed(header: bytes) -> int:
    return _SIZE.itemsize + len(header) + _layout(header).itemsize


def _header(row: NDArray[np.uint8]) -> bytes:
    size = int(row[: _SIZE.itemsize, 0].view(_SIZE)[0])
    return row[_SIZE.itemsize : _SIZE.itemsize + size, 0].tobytes()


@cache
def _layout(header: bytes) -> np.dtype[Any]:
    """The packed struct of the raw fields that take any bytes, named by their position."""
    parts: list[Any] = []
    for position, (_, dtype, shape) in enumerate(json.loads(header)):
        if dtype != "|O" and np.dtype((dtype, tuple(shape))).itemsize:
            parts.append((str(position), dtype, tuple(shape)))
    return np.dtype(parts)


class _PlainUnpickler(pickle.Unpickler):
    """Opens plain values only: a model's own classes would bring its framework into the worker."""

    def find_class(self, module: str, name: str) -> Any:
        plain = module == "builtins" and name in _PLAIN_BUILTINS
        if not plain and module.partition(".")[0] not in _PLAIN_MODULES:
            raise HandlerError(
                f"the predict function returned a {module}.{name}; return numpy arrays, numbers or "
                "texts"
            )
        return super().find_class(module, name)


def _load(raw: bytes) -> Any:
    return _PlainUnpickler(io.BytesIO(raw)).load()
