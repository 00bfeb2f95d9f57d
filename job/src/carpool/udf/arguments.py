"""From the columns of a batch to the arguments of the predict function: PySpark's rules. Pure.

They are those of `pyspark.ml.functions.predict_batch_udf` (Spark 4), and so are the messages that
users search for: a function of several arguments gets a column each; a function of one argument
gets the one column, or a struct of scalar columns as one array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError
from carpool.udf.records import RecordFormat
from carpool.udf.spec import Shapes

_MISMATCH = "Input data does not match expected shape."
_SEVERAL = (
    "Multiple input columns found, but model expected a single input, use `array` to combine "
    "columns into tensors."
)


def arguments(
    columns: Sequence[NDArray[Any]], record: RecordFormat, inputs: int, given: Shapes
) -> list[NDArray[Any]]:
    """Give what the predict function is called with.

    Args:
        columns: per column [n, …].
        record: what else is known of the columns.
        inputs: parameters of the predict function.
        given: `input_tensor_shapes`.

    Returns:
        Per parameter [n, *shape].

    Raises:
        HandlerError: columns, shapes and parameters do not fit together.
    """
    shapes = _dense(given, inputs)
    if len(columns) == inputs > 1:
        return _one_each(columns, shapes)
    if inputs == 1:
        return [_single(columns, record, shapes)]
    raise HandlerError(f"Model expected {inputs} inputs, but received {len(columns)} columns")


def _dense(given: Shapes, inputs: int) -> list[list[int]]:
    """A shape per input, [] for a scalar; empty where none was given."""
    if isinstance(given, Mapping):
        past = sorted(index for index in given if not 0 <= index < inputs)
        if past:
            raise HandlerError(
                f"input_tensor_shapes has a shape for input {past[0]}; the model has {inputs} "
                "inputs, counted from 0"
            )
        return [list(given.get(index, ())) for index in range(inputs)]
    return [list(shape or ()) for shape in given or ()]


def _one_each(columns: Sequence[NDArray[Any]], shapes: list[list[int]]) -> list[NDArray[Any]]:
    if not shapes:
        return list(columns)
    if len(shapes) != len(columns):
        raise HandlerError(
            f"input_tensor_shapes must match columns: {len(shapes)} shapes for {len(columns)}"
        )
    return [
        _reshaped(_stacked(column), shape) if shape else column
        for column, shape in zip(columns, shapes, strict=True)
    ]


def _single(
    columns: Sequence[NDArray[Any]], record: RecordFormat, shapes: list[list[int]]
) -> NDArray[Any]:
    if len(columns) > 1 and (record.tensors or record.separate):
        raise HandlerError(_SEVERAL)
    if record.tensors:
        found = _stacked(columns[0])
    elif len(columns) == 1:
        found = columns[0]
        if shapes and shapes[0] not in ([], [1]):
            raise HandlerError("Invalid input_tensor_shape for scalar column.")
    else:
        found = np.empty((len(columns[0]), len(columns)), record.common)
        for position, column in enumerate(columns):
            found[:, position] = column
        if shapes and shapes[0] not in ([], [len(columns)]):
            raise HandlerError(_MISMATCH)
    if len(shapes) > 1:
        raise HandlerError("Multiple input_tensor_shapes found, but model expected one input")
    if not shapes or (not shapes[0] and found.ndim > 1 and not record.tensors):
        return found
    return _reshaped(found, shapes[0])


def _stacked(column: NDArray[Any]) -> NDArray[Any]:
    """Rows of arrays as one array [n, length]; a scalar is an array of one element."""
    if column.ndim > 1:
        return column
    if not column.dtype.hasobject:
        return column[:, None]
    try:
        return np.vstack(list(column))
    except ValueError as error:
        raise HandlerError(f"{_MISMATCH} The arrays of a column differ: {error}") from error


def _reshaped(column: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    try:
        found = column.reshape([-1, *shape])
    except ValueError as error:
        raise HandlerError(f"{_MISMATCH} {error}") from error
    if len(found) != len(column):
        raise HandlerError(_MISMATCH)
    return found
