"""The driver's side: what users call."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from pyspark import SparkContext, cloudpickle
from pyspark.sql.functions import pandas_udf  # type: ignore[attr-defined]  # it is public
from pyspark.sql.types import (
    ArrayType,
    ByteType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructType,
)

from carpool.udf.spec import FunctionSpec, ReturnType, Shapes

IDLE_VARIABLE = "CARPOOL_UDF_IDLE_SECONDS"
"""Read in the driver: after so long without work a host ends, and its model with it."""
_IDLE_SECONDS = 600.0
_SCALARS = (ByteType, ShortType, IntegerType, LongType, FloatType, DoubleType, StringType)


def predict_batch_udf(
    make_predict_fn: Callable[[], Callable[..., Any]],
    *,
    return_type: DataType | str,
    batch_size: int,
    input_tensor_shapes: Shapes = None,
) -> Any:
    """Make a pandas UDF of a model that all tasks of an executor share.

    The arguments and what they mean are those of `pyspark.ml.functions.predict_batch_udf`. The
    difference is where the function runs: `make_predict_fn` is called once per executor, in a
    process of its own, and batches are filled from the rows of all its tasks. That process starts
    with the first task, and ends with the executor or after CARPOOL_UDF_IDLE_SECONDS (default 600)
    without work; the next task starts it again.

    Args:
        make_predict_fn: loads the model and returns the predict function, which takes numpy arrays
            [n, …], n ≤ `batch_size`, and returns an array, a dictionary of arrays by field, or a
            list of dictionaries. It is pickled by cloudpickle and opened in the model host, where
            there is no Spark: no broadcast variable, no accumulator, no task context.
        return_type: Spark type of a prediction, or its DDL text: Byte, Short, Integer, Long, Float,
            Double, String, an array, or a struct of these.
        batch_size: most rows of a batch.
        input_tensor_shapes: shape of one row per input, None or [] for a scalar; or a dictionary of
            shapes by index of the input. A column of arrays holds them flattened.

    Returns:
        A pandas UDF that takes columns: one per parameter of the predict function, or one struct.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument has a value that cannot work.
    """
    cores, task_cores = _cores()
    spec = FunctionSpec(
        # A new one each time, so that a function defined anew is loaded anew.
        function_id=uuid.uuid4().hex,
        name=getattr(make_predict_fn, "__qualname__", type(make_predict_fn).__qualname__),
        pickled=_pickled(make_predict_fn),
        return_type=describe_type(_data_type(return_type)),
        batch_size=_checked_size(batch_size),
        input_tensor_shapes=_checked_shapes(input_tensor_shapes),
        idle_seconds=_idle_seconds(),
        tasks=cores // task_cores,
        threads=cores,
    )

    # PySpark reads from the annotations that it is to hand over an iterator, and nothing else: a
    # struct comes as a DataFrame, several columns as a tuple of Series.
    def predict(data: Iterator[pd.Series]) -> Iterator[pd.Series]:
        # Imported in the worker: the driver needs no host.
        from carpool.udf.task import predict_rows  # noqa: PLC0415 - see above

        yield from predict_rows(data, spec)

    return pandas_udf(predict, return_type)


def describe_type(data_type: DataType) -> ReturnType:
    """The part of a Spark type that predictions are held against.

    Raises:
        ValueError: PySpark's `predict_batch_udf` cannot give this type either.
    """
    if isinstance(data_type, StructType):
        fields = {field.name: _field_kind(field.dataType, field.name) for field in data_type.fields}
        return ReturnType("struct", fields)
    return ReturnType(_field_kind(data_type, None), {})


def _field_kind(data_type: DataType, field: str | None) -> Literal["scalar", "array"]:
    if isinstance(data_type, ArrayType):
        return "array"
    if isinstance(data_type, _SCALARS):
        return "scalar"
    if field is None:
        raise ValueError(f"Unsupported return type: {data_type.simpleString()}")
    raise ValueError(
        f"Unsupported field type in return struct type: field {field} is {data_type.simpleString()}"
    )


def _data_type(given: DataType | str) -> DataType:
    if isinstance(given, str):
        return DataType.fromDDL(given)
    if not isinstance(given, DataType):
        raise TypeError(f"return_type must be a DataType or its DDL text, got {type(given)}")
    return given


def _pickled(make_predict_fn: Callable[..., Any]) -> bytes:
    if not callable(make_predict_fn):
        raise TypeError(f"make_predict_fn must be callable, got {type(make_predict_fn)}")
    return bytes(cloudpickle.dumps(make_predict_fn))  # type: ignore[no-untyped-call]  # as published


def _checked_size(given: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"batch_size must be an int, got {type(given)}")
    if given < 1:
        raise ValueError(f"batch_size is {given}, expected at least 1")
    return given


def _checked_shapes(given: Shapes) -> Shapes:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {int(index): _checked_shape(shape) or [] for index, shape in given.items()}
    return [_checked_shape(shape) for shape in given]


def _checked_shape(shape: Sequence[int] | None) -> list[int] | None:
    if shape is None:
        return None
    try:
        return [int(side) for side in shape]
    except TypeError as error:
        raise TypeError(
            f"input_tensor_shapes has {shape!r}; a shape is a list of ints, None for a scalar"
        ) from error


def _idle_seconds() -> float:
    text = os.environ.get(IDLE_VARIABLE, str(_IDLE_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"{IDLE_VARIABLE} is {text!r}, expected a number of seconds > 0")
    return seconds


def _cores() -> tuple[int, int]:
    """Cores of an executor, 0 where no setting says so; and of a task."""
    context = SparkContext._active_spark_context  # noqa: SLF001 - there is no public way to ask
    if context is None:
        return 0, 1
    conf = context.getConf()
    local = re.match(r"local\[(\d+)", str(context.master))
    cores = local.group(1) if local else conf.get("spark.executor.cores", "0")
    return int(cores or 0), max(1, int(conf.get("spark.task.cpus", "1") or 1))
