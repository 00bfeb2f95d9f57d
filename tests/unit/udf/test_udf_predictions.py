"""What a predict function may return for which type: PySpark's rules."""

from __future__ import annotations

import numpy as np
import pytest

from carpool.errors import HandlerError
from carpool.udf.predictions import check_predictions
from carpool.udf.spec import ReturnType

SCALAR = ReturnType("scalar", {})
ARRAY = ReturnType("array", {})
STRUCT = ReturnType("struct", {"x": "scalar", "y": "array"})


@pytest.mark.parametrize("found", [np.arange(3), np.arange(3)[:, None]])
def test_a_scalar_is_an_array_of_one_dimension_or_one_column(found):
    columns = check_predictions(found, 3, SCALAR)
    assert columns[""].tolist() == [0, 1, 2]


def test_an_array_is_an_array_of_two_dimensions():
    columns = check_predictions(np.ones((3, 2), np.float16), 3, ARRAY)
    assert columns[""].dtype == np.float16


def test_a_struct_is_a_dictionary_of_arrays_in_any_order():
    columns = check_predictions({"y": np.ones((2, 3)), "x": np.arange(2)}, 2, STRUCT)
    assert list(columns) == ["x", "y"]


def test_a_struct_is_a_list_of_dictionaries_that_keeps_types():
    rows = [{"x": np.float32(n), "y": np.ones(3, np.int16)} for n in range(2)]
    columns = check_predictions(rows, 2, STRUCT)
    assert (columns["x"].dtype, columns["y"].dtype) == (np.float32, np.int16)
    assert columns["y"].shape == (2, 3)


@pytest.mark.parametrize("values", [["POSITIVE", "NO"], [1, 2.5], [True, None], [1 << 70, 1]])
def test_values_that_share_no_type_stay_what_they_are(values):
    rows = [{"x": value, "y": np.ones(1)} for value in values]
    found = check_predictions(rows, 2, STRUCT)["x"]
    assert found.dtype == object
    assert [(type(one), one) for one in found] == [(type(one), one) for one in values]


def test_rows_may_have_arrays_of_unequal_length():
    rows = [{"x": 1.0, "y": np.ones(n)} for n in (1, 2)]
    assert [len(value) for value in check_predictions(rows, 2, STRUCT)["y"]] == [1, 2]


GOOD = {"x": np.arange(2), "y": np.ones((2, 3))}
ROW = {"x": 1.0, "y": np.ones(3)}


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (np.arange(3), SCALAR, "must have same length as input data: 3 for 2 rows"),
        (np.array(1.0), SCALAR, "must have same length"),
        (np.ones((2, 2)), SCALAR, "Invalid shape for scalar prediction result"),
        ([1, 2], SCALAR, "must be an ndarray"),
        ([[1], [2]], ARRAY, "must be an ndarray"),
        (np.arange(2), ARRAY, "must be two-dimensional"),
        (np.ones((3, 2)), ARRAY, "must have same length"),
        (np.ones((2, 2)), STRUCT, "must be a dictionary or a list of dictionary"),
        ([], STRUCT, "must have same length"),
        ([ROW], STRUCT, "must have same length"),
        (GOOD | {"z": np.arange(2)}, STRUCT, "columns did not match expected return_type"),
        ({"x": np.arange(2)}, STRUCT, "columns did not match expected return_type"),
        (GOOD | {"x": np.ones((2, 1))}, STRUCT, "scalar types must be one-dimensional; field x"),
        (GOOD | {"y": np.ones(2)}, STRUCT, "ArrayType must be two-dimensional; field y"),
        (GOOD | {"x": np.arange(3)}, STRUCT, "must have same length"),
        (GOOD | {"x": [1, 2]}, STRUCT, "field x is <class 'list'>"),
        ([ROW, ROW | {"y": np.ones((3, 1))}], STRUCT, "must be one-dimensional; a row of field y"),
        ([ROW, ROW | {"x": np.ones(1)}], STRUCT, "Invalid scalar prediction result"),
        ([ROW, {"x": 1.0}], STRUCT, "columns did not match expected return_type"),
    ],
)
def test_anything_else_is_an_error_with_pysparks_words(found, expected, said):
    with pytest.raises(HandlerError, match=said):
        check_predictions(found, 2, expected)
