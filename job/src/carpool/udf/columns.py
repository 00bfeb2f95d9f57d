"""From what Spark hands a pandas UDF to the columns of records.

Spark gives a Series per argument (as a tuple where there are several), a DataFrame for a struct.
The rules are PySpark's (`pyspark.ml.functions`, Spark 4): arrays must have a shape in
`input_tensor_shapes`, or the function must take them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from carpool.udf.records import Column, RecordFormat
from carpool.udf.spec import Shapes

PandasBatch: TypeAlias = "pd.Series | pd.DataFrame | tuple[pd.Series | pd.DataFrame, ...]"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a pandas batch.

    Attributes:
        count: how many.
        columns: of all of them.
        record: the format that they need.
    """

    count: int
    columns: Sequence[Column]
    record: RecordFormat


def rows_of(data: PandasBatch, shapes: Shapes) -> Rows | None:
    """Take a pandas batch apart; None where it has no rows.

    Raises:
        ValueError: a column holds arrays and no shape was given, or arrays of unequal length.
    """
    frame = data if isinstance(data, pd.DataFrame) else _joined(data)
    if not len(frame):
        return None
    series = [frame.iloc[:, position] for position in range(frame.shape[1])]
    tensors = any(_holds_arrays(one) for one in series)
    if tensors and not shapes and not isinstance(shapes, Mapping):
        raise ValueError("Tensor columns require input_tensor_shapes")
    columns = [_column(one, _shape_of(shapes, position)) for position, one in enumerate(series)]
    record = RecordFormat(
        fields=tuple(column.field for column in columns),
        tensors=tensors,
        separate=isinstance(data, tuple),
        # pandas' own rule for columns of several types, asked on no rows.
        common=frame.iloc[:0].to_numpy().dtype.str if len(series) > 1 else "",
    )
    return Rows(len(frame), columns, record)


def _joined(data: pd.Series | tuple[Any, ...]) -> pd.DataFrame:
    return pd.concat(data if isinstance(data, tuple) else (data,), axis=1)


def _column(series: pd.Series, shape: Sequence[int] | None) -> Column:
    values = series.to_numpy()
    if shape and _holds_arrays(series):
        values = np.vstack(list(values))
    return Column.of(values)


def _holds_arrays(series: pd.Series) -> bool:
    return series.dtype == np.object_ and isinstance(series.iloc[0], np.ndarray | list)


def _shape_of(shapes: Shapes, position: int) -> Sequence[int] | None:
    if isinstance(shapes, Mapping):
        return shapes.get(position)
    return shapes[position] if shapes and position < len(shapes) else None
