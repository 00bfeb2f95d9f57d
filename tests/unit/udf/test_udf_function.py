"""What the driver refuses, before any query runs; and that importing carpool costs nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    FloatType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from carpool.udf.function import IDLE_VARIABLE, describe_type, predict_batch_udf
from carpool.udf.spec import ReturnType


def make() -> Any:
    return len


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0, expected at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an int"),
        ({"return_type": FloatType}, TypeError, "return_type must be a DataType"),
        ({"return_type": BooleanType()}, ValueError, "Unsupported return type: boolean"),
        ({"input_tensor_shapes": [4]}, TypeError, "a shape is a list of ints"),
        ({"make_predict_fn": 1}, TypeError, "make_predict_fn must be callable"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, error, said):
    right = {"make_predict_fn": make, "return_type": FloatType(), "batch_size": 1}
    function = {**right, **arguments}.pop("make_predict_fn")
    rest = {name: value for name, value in {**right, **arguments}.items() if "make" not in name}
    with pytest.raises(error, match=said):
        predict_batch_udf(function, **rest)


def test_a_struct_may_hold_scalars_and_arrays():
    kind = StructType([StructField("x", StringType()), StructField("y", ArrayType(FloatType()))])
    assert describe_type(kind) == ReturnType("struct", {"x": "scalar", "y": "array"})


def test_a_struct_with_anything_else_is_refused_by_the_name_of_the_field():
    kind = StructType([StructField("x", MapType(StringType(), StringType()))])
    with pytest.raises(ValueError, match=r"Unsupported field type .* field x is map"):
        describe_type(kind)


@pytest.mark.parametrize("text", ["soon", "0", "-1"])
def test_an_idle_time_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(IDLE_VARIABLE, text)
    with pytest.raises(ValueError, match="CARPOOL_UDF_IDLE_SECONDS is"):
        predict_batch_udf(make, return_type=FloatType(), batch_size=1)


def test_importing_carpool_imports_neither_spark_nor_numpy():
    program = (
        "import sys, carpool\n"
        "print(sorted({'pyspark', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))\n"
        "print(carpool.predict_batch_udf.__module__)"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\ncarpool.udf.function\n"
