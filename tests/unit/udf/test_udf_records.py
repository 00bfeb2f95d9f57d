"""Rows as fixed-width records: what goes in comes out, of the same type."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carpool.udf.records import Column, Field, RecordFormat, read_records, write_records

ROWS = st.integers(1, 12)
RAW = st.sampled_from(["?", "<i1", "<i4", "<i8", "<u2", "<f2", "<f4", "<f8", "<M8[us]", "<m8[ns]"])
OBJECTS = (
    st.text(max_size=90)
    | st.binary(max_size=90)
    | st.none()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)
)


@st.composite
def tables(draw):
    count = draw(ROWS)
    columns = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            shape = draw(st.sampled_from([(), (3,), (2, 2), (0,)]))
            columns.append(draw(hnp.arrays(draw(RAW), (count, *shape))))
        else:
            values = draw(st.lists(OBJECTS, min_size=count, max_size=count))
            column = np.empty(count, object)
            column[:] = values
            columns.append(column)
    return columns


def format_of(columns):
    return RecordFormat(
        tuple(column.field for column in columns), tensors=False, separate=False, common="<f8"
    )


def same(found, expected):
    if expected.dtype == object:
        pairs = list(zip(found, expected, strict=True))
        return all(type(one) is type(other) and one == other for one, other in pairs)
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


@settings(max_examples=100, deadline=None)
@given(tables(), st.data())
def test_any_part_of_a_table_survives_the_way_through_records(table, data):
    columns = [Column.of(values) for values in table]
    start = data.draw(st.integers(0, len(table[0]) - 1))
    stop = data.draw(st.integers(start + 1, len(table[0])))
    # The host knows the format by its schema alone, and memory holds what was there before.
    record = RecordFormat.of_schema(format_of(columns).schema)
    memory = np.full((stop - start, record.dtype.itemsize), 255, np.uint8)
    write_records(format_of(columns), columns, start, stop, memory)
    for found, expected in zip(read_records(record, memory), table, strict=True):
        assert same(found, expected[start:stop])


def test_what_is_read_is_a_copy_that_a_function_may_change():
    column = Column.of(np.arange(3.0))
    record = format_of([column])
    memory = np.zeros((3, 8), np.uint8)
    write_records(record, [column], 0, 3, memory)
    memory.flags.writeable = False
    (found,) = read_records(record, memory)
    found += 1
    (again,) = read_records(record, memory)
    assert again.tolist() == [0, 1, 2]


def test_a_longer_text_needs_a_larger_format_that_holds_the_shorter_ones_too():
    short, long = (format_of([Column.of(np.array(["x" * size], object))]) for size in (10, 1000))
    assert not short.covers(long)
    assert long.covers(short)
    assert short.grown(long) == long
    assert long.grown(short) == long


def test_texts_of_about_the_same_length_have_one_format():
    formats = {format_of([Column.of(np.array(["x" * n], object))]).schema for n in range(1, 15)}
    assert len(formats) == 1


def test_columns_of_another_type_are_another_format():
    whole, real = (format_of([Column.of(np.ones(1, dtype))]) for dtype in ("<i8", "<f8"))
    assert not whole.covers(real)
    assert whole.grown(real) == real


def test_a_schema_of_many_equal_columns_is_short():
    record = RecordFormat((Field("<f8"),) * 784, tensors=False, separate=False, common="<f8")
    assert len(record.schema) < 100
    assert RecordFormat.of_schema(record.schema) == record


@pytest.mark.parametrize(
    "value", [b"\0ends in zeros\0\0", "", dt.date(2024, 2, 29), Decimal("0.10")]
)
def test_values_are_not_trimmed(value):
    column = Column.of(np.array([value], object))
    record = format_of([column])
    memory = np.zeros((1, record.dtype.itemsize), np.uint8)
    write_records(record, [column], 0, 1, memory)
    assert read_records(record, memory)[0][0] == value
