"""Predictions held against the declared return type: PySpark's rules. Pure.

As in `pyspark.ml.functions.predict_batch_udf`: a scalar type takes an array of one dimension, or of
two with one column; an array type one of two; a struct a dictionary of arrays, or a list of
dictionaries, a row each. Here every row of such a list is looked at, not only the first, because
which row comes first in a batch that several tasks share is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError
from carpool.udf.results import Columns
from carpool.udf.spec import ReturnType


def check_predictions(found: Any, count: int, expected: ReturnType) -> Columns:
    """Give predictions as columns, a scalar one [n] and an array one [n, length].

    Args:
        found: what the predict function returned.
        count: rows it was given.
        expected: the return type.

    Returns:
        A column per field of a struct; one named "" otherwise. Objects where the rows of a field
        are not all of one dtype and shape.

    Raises:
        HandlerError: it is something else.
    """
    if expected.kind == "struct":
        if isinstance(found, Mapping):
            return _columnar(found, count, expected)
        if isinstance(found, list) and all(isinstance(row, Mapping) for row in found):
            return _row_wise(found, count, expected)
        raise HandlerError(
            "Prediction results for StructType must be a dictionary or a list of dictionary, got: "
            f"{type(found)}"
        )
    if not isinstance(found, np.ndarray):
        kind = "ArrayType" if expected.kind == "array" else "scalar types"
        raise HandlerError(f"Prediction results for {kind} must be an ndarray, got: {type(found)}")
    _check_length(found.shape[0] if found.ndim else 0, count)
    if expected.kind == "array":
        if found.ndim != 2:
            raise HandlerError(
                f"Prediction results for ArrayType must be two-dimensional, got shape {found.shape}"
            )
        return {"": found}
    if found.ndim > 2 or (found.ndim == 2 and found.shape[1] != 1):
        raise HandlerError(f"Invalid shape for scalar prediction result: {found.shape}")
    return {"": found.reshape(count)}


def _columnar(
    found: Mapping[str, Any], count: int, expected: ReturnType
) -> dict[str, NDArray[Any]]:
    _check_names(found, expected)
    for name, kind in expected.fields.items():
        values = found[name]
        if not isinstance(values, np.ndarray):
            raise HandlerError(
                f"Prediction results must be ndarrays; field {name} is {type(values)}"
            )
        dimensions, word = (2, "two") if kind == "array" else (1, "one")
        if values.ndim != dimensions:
            type_name = "ArrayType" if kind == "array" else "scalar types"
            raise HandlerError(
                f"Prediction results for {type_name} must be {word}-dimensional; field {name} has "
                f"shape {values.shape}"
            )
        _check_length(len(values), count)
    return {name: found[name] for name in expected.fields}


def _row_wise(
    found: Sequence[Mapping[str, Any]], count: int, expected: ReturnType
) -> dict[str, NDArray[Any]]:
    _check_length(len(found), count)
    for row in found:
        _check_names(row, expected)
    columns: dict[str, NDArray[Any]] = {}
    for name, kind in expected.fields.items():
        values = [row[name] for row in found]
        for value in values:
            if value is None:
                continue
            if kind == "array" and getattr(value, "ndim", None) != 1:
                raise HandlerError(
                    "Prediction results for ArrayType must be one-dimensional; a row of field "
                    f"{name} is {_described(value)}"
                )
            if kind == "scalar" and not np.isscalar(value):
                raise HandlerError(
                    f"Invalid scalar prediction result: a row of field {name} is "
                    f"{_described(value)}"
                )
        columns[name] = _gathered(values)
    return columns


def _gathered(values: Sequence[Any]) -> NDArray[Any]:
    """One array of all rows, if none of them changes by it; an array of objects otherwise."""
    kinds = {
        (type(value), value.dtype, value.shape)
        if isinstance(value, np.ndarray | np.generic)
        else type(value)
        for value in values
    }
    kind: Any
    (kind,) = kinds if len(kinds) == 1 else (None,)
    if isinstance(kind, tuple) and not kind[1].hasobject:
        return np.array(values, kind[1])
    if kind is float or kind is bool:
        return np.array(values)
    if kind is int and all(-(1 << 63) <= value < 1 << 63 for value in values):
        return np.array(values, np.int64)
    column = np.empty(len(values), object)
    for row, value in enumerate(values):  # an assignment at once would unpack arrays
        column[row] = value
    return column


def _check_length(found: int, count: int) -> None:
    if found != count:
        raise HandlerError(
            f"Prediction results must have same length as input data: {found} for {count} rows"
        )


def _check_names(found: Mapping[str, Any], expected: ReturnType) -> None:
    if set(found) != set(expected.fields):
        raise HandlerError(
            "Prediction result columns did not match expected return_type columns: expected "
            f"{list(expected.fields)}, got: {list(found)}"
        )


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value)}" if shape is None else f"{type(value)} of shape {shape}"
