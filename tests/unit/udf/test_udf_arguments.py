"""Which arrays a predict function is called with: PySpark's rules."""

from __future__ import annotations

import numpy as np
import pytest

from carpool.errors import HandlerError
from carpool.udf.arguments import arguments
from carpool.udf.records import RecordFormat


def record(*, tensors=False, separate=False, common="<f8"):
    return RecordFormat((), tensors=tensors, separate=separate, common=common)


def of_objects(*values):
    column = np.empty(len(values), object)
    for row, value in enumerate(values):
        column[row] = value
    return column


A, B = np.array([1.0, 2.0]), np.array([3, 4])
TENSOR = np.arange(8.0).reshape(2, 4)


def test_one_scalar_column_is_an_array_of_one_dimension():
    (found,) = arguments([A], record(), 1, None)
    assert found.tolist() == [1, 2]


@pytest.mark.parametrize("shapes", [None, [[2]], [None]])
def test_a_struct_of_scalars_is_an_array_of_two_dimensions_in_the_type_pandas_gives(shapes):
    (found,) = arguments([A, B], record(), 1, shapes)
    assert found.tolist() == [[1, 3], [2, 4]]
    assert found.dtype == np.float64


def test_a_struct_with_texts_is_an_array_of_objects():
    (found,) = arguments([A, of_objects("x", None)], record(common="|O"), 1, None)
    assert found.tolist() == [[1.0, "x"], [2.0, None]]


def test_a_column_each_for_several_parameters():
    found = arguments([A, B], record(separate=True), 2, None)
    assert [one.dtype for one in found] == [np.float64, np.int64]


@pytest.mark.parametrize("shapes", [[None, [2, 2]], [[], [2, 2]], {1: [2, 2]}])
def test_arrays_take_their_shape_and_scalars_stay(shapes):
    scalar, tensor = arguments([A, TENSOR], record(tensors=True, separate=True), 2, shapes)
    assert scalar.shape == (2,)
    assert tensor.tolist() == TENSOR.reshape(2, 2, 2).tolist()


def test_arrays_without_a_shape_stay_apart():
    ragged = of_objects(np.arange(2), np.arange(3))
    _, found = arguments([A, ragged], record(tensors=True, separate=True), 2, None)
    assert [len(value) for value in found] == [2, 3]


@pytest.mark.parametrize(
    ("columns", "known", "inputs", "shapes", "said"),
    [
        ([A, B], record(separate=True), 1, None, "Multiple input columns found"),
        ([A, TENSOR], record(tensors=True), 1, [[4]], "Multiple input columns found"),
        ([A, B], record(separate=True), 3, None, "expected 3 inputs, but received 2 columns"),
        ([A], record(), 1, [[3]], "Invalid input_tensor_shape for scalar column"),
        ([A, B], record(), 1, [[3]], "Input data does not match expected shape"),
        ([A, B], record(), 1, [[2], [2]], "Multiple input_tensor_shapes found"),
        ([TENSOR], record(tensors=True), 1, [[4], [4]], "Multiple input_tensor_shapes found"),
        ([TENSOR], record(tensors=True), 1, [[3]], "Input data does not match expected shape"),
        ([TENSOR], record(tensors=True), 1, [[2]], "Input data does not match expected shape"),
        ([A, B], record(separate=True), 2, [[1]], "input_tensor_shapes must match columns"),
        ([A], record(), 1, {1: [2]}, "shape for input 1; the model has 1 inputs"),
    ],
)
def test_what_does_not_fit_is_an_error_with_pysparks_words(columns, known, inputs, shapes, said):
    with pytest.raises(HandlerError, match=said):
        arguments(columns, known, inputs, shapes)
