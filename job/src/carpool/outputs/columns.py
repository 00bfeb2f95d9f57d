"""Columns of tables from numpy and back, without pandas.

`pyarrow.array`, `pyarrow.scalar` and `to_numpy` import pandas wherever it is installed, to see
whether they are given something of pandas': in every Spark worker half a second and 45 MiB for a
library that nothing here uses. What must stay true: no way from a task's arrays to its committed
file, nor back to a tracker, imports pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: NDArray[Any], kind: Any) -> Any:
    """A column of numbers.

    Args:
        values: [k], converted where its dtype is not that of the column.
        kind: a `pyarrow.DataType` of fixed width that numpy has too.

    Returns:
        A `pyarrow.Array` of k values, none of them null; a copy only where one was needed.

    Raises:
        ValueError: the values are not a list of numbers.
    """
    if values.ndim != 1:
        raise ValueError(f"found an array of shape {values.shape}, expected [k]")
    plain = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(plain), [None, pa.py_buffer(plain)])


def texts(values: Sequence[str], positions: NDArray[Any]) -> Any:
    """A column of texts of which there are few.

    Args:
        values: the different texts.
        positions: integers [k], for each row the place of its text in `values`.

    Returns:
        A `pyarrow.Array` of k strings.
    """
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)])
    known = pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))
    )
    return known.take(numbers(positions, pa.int64()))


def table_of(rows: Sequence[Mapping[str, Any]], schema: Any) -> Any:
    """A table, from its rows.

    Args:
        rows: with a value for each column.
        schema: a `pyarrow.Schema` of texts and numbers, none of them null.

    Returns:
        A `pyarrow.Table` with that schema.
    """
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if pa.types.is_string(field.type):
            places = {text: place for place, text in enumerate(dict.fromkeys(values))}
            columns.append(texts([*places], np.array([places[text] for text in values], np.int64)))
        else:
            columns.append(numbers(np.array(values, field.type.to_pandas_dtype()), field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def to_numpy(column: Any) -> NDArray[Any]:
    """The numbers of a column.

    Args:
        column: a `pyarrow.ChunkedArray` of numbers, none of them null.

    Returns:
        [k], in the column's type; to read only.
    """
    found: NDArray[Any] = np.from_dlpack(column.combine_chunks())
    return found
