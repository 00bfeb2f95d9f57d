"""Columns from numpy and back: exact, and without pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.outputs.columns import numbers, table_of, texts, to_numpy

KINDS = {np.int32: pa.int32(), np.int64: pa.int64(), np.float32: pa.float32()}

WITHOUT_PANDAS = """
import importlib.util, io, sys
import numpy as np
import pyarrow.parquet as pq
from carpool.outputs.parquet import TableBuffer, encode
from carpool.outputs.tables import TRACKS, detections_table, rows_of, tracks_table
from carpool.outputs.track_summary import SummaryBuilder

assert importlib.util.find_spec("pandas"), "pandas must be installed, or this says nothing"
rows = np.array([[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 2]], np.float32)
frames = np.array([3, 9])
table = detections_table(
    video_uri="v", unit_id="u", frame_index=frames, pts_ns=frames, rows=rows, class_names=("car",)
)
detections = pq.ParquetFile(io.BytesIO(encode(table, {}))).read()
assert (rows_of(detections) == rows).all()
tracks, summary = TableBuffer(TRACKS), SummaryBuilder("v")
part = tracks_table(detections, np.array([-1, 7]))
tracks.write(part)
summary.add(part)
assert summary.finish().num_rows == 1
assert tracks.finish({})
print("pandas" in sys.modules)
"""


@pytest.mark.parametrize("dtype", KINDS)
@given(values=st.lists(st.integers(-(2**23), 2**23)))
def test_numbers_come_back_as_they_went(dtype, values):
    array = np.array(values, dtype)

    column = numbers(array, KINDS[dtype])

    assert column.type == KINDS[dtype]
    assert column.null_count == 0
    assert column.to_pylist() == array.tolist()
    back = to_numpy(pa.chunked_array([column, column]))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, np.concatenate([array, array]))


def test_a_column_of_a_matrix_is_a_column():
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)

    assert numbers(matrix[:, 1], pa.float32()).to_pylist() == [1.0, 3.0, 5.0]


def test_numbers_are_converted_to_the_columns_type():
    assert numbers(np.array([1, 2], np.int32), pa.int64()).type == pa.int64()


def test_a_matrix_is_no_column():
    with pytest.raises(ValueError, match=r"found an array of shape \(2, 2\), expected \[k\]"):
        numbers(np.zeros((2, 2)), pa.float32())


def test_a_column_without_chunks_has_no_numbers():
    assert to_numpy(pa.chunked_array([], pa.int64())).shape == (0,)


def test_a_slice_of_a_column_is_that_slice():
    column = pa.chunked_array([numbers(np.arange(9), pa.int64())]).slice(2, 3)

    assert to_numpy(column).tolist() == [2, 3, 4]


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_texts_come_back_as_they_went(words):
    known = sorted(set(words))
    positions = np.array([known.index(word) for word in words], np.int64)

    assert texts(known, positions).to_pylist() == words


def test_a_table_of_rows_has_their_values_and_the_schema():
    schema = pa.schema(
        [pa.field("name", pa.string(), nullable=False), pa.field("count", pa.int64())]
    )
    rows = [{"name": "b", "count": 1}, {"name": "ä", "count": 2}, {"name": "b", "count": 3}]

    table = table_of(rows, schema)

    assert table.schema == schema
    assert table.to_pylist() == rows
    assert table_of([], schema).num_rows == 0


def test_no_way_of_a_task_imports_pandas():
    """It would take half a second and 45 MiB of every worker."""
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS], capture_output=True, text=True, check=True
    )

    assert found.stdout == "False\n"
