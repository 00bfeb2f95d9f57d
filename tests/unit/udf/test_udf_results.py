"""Predictions as bytes: what a function returned comes out, of the same type and shape."""

from __future__ import annotations

import fractions

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carpool.errors import HandlerError
from carpool.udf.results import read_results, write_results

KINDS = st.sampled_from(["?", "<i1", "<i8", ">f4", "<f8", "<M8[s]", "<U3", "S2"])
NAMES = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True)
OBJECTS = st.text(max_size=20) | st.none() | st.integers() | st.binary(max_size=9)


@st.composite
def predictions(draw):
    count = draw(st.integers(1, 6))
    columns = {}
    for name in draw(NAMES):
        if draw(st.booleans()):
            shape = draw(st.sampled_from([(), (1,), (4,), (0,)]))
            columns[name] = draw(hnp.arrays(draw(KINDS), (count, *shape)))
        else:
            columns[name] = np.empty(count, object)
            columns[name][:] = draw(st.lists(OBJECTS, min_size=count, max_size=count))
    return count, columns


def same(found, expected):
    if expected.dtype == object:
        return found.dtype == object and found.tolist() == expected.tolist()
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.lists(predictions(), min_size=1, max_size=3))
def test_predictions_of_several_batches_come_back_in_order_and_unchanged(batches):
    rows = [row for count, columns in batches for row in write_results(columns, count)]
    found = list(read_results(rows))
    assert sum(count for count, _ in found) == len(rows)
    start = 0
    expected = [
        {name: values[row : row + 1] for name, values in columns.items()}
        for count, columns in batches
        for row in range(count)
    ]
    for count, columns in found:
        for row in range(count):
            for name, value in expected[start + row].items():
                assert same(columns[name][row : row + 1], value)
        start += count


def test_rows_of_one_shape_are_one_block_and_one_piece():
    block = write_results({"": np.zeros((100, 7), np.float32)}, 100)
    assert isinstance(block, np.ndarray)
    assert block.shape[0] == 100
    ((count, columns),) = read_results(list(block))
    assert (count, columns[""].shape, columns[""].dtype) == (100, (100, 7), np.float32)


def test_arrays_of_unequal_length_come_back_each_as_it_was():
    column = np.empty(2, object)
    column[0], column[1] = np.arange(3), np.arange(5.0)
    ((_, columns),) = read_results(list(write_results({"x": column}, 2)))
    assert [value.tolist() for value in columns["x"]] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert [value.dtype for value in columns["x"]] == [np.int64, np.float64]


def test_objects_of_a_framework_are_refused_by_name():
    column = np.array([fractions.Fraction(1, 3)], object)
    with pytest.raises(HandlerError, match=r"fractions\.Fraction"):
        list(read_results(list(write_results({"": column}, 1))))
