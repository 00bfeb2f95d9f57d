from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.outputs import parquet
from carpool.outputs.parquet import TableBuffer, encode, footer_size, parse_footer

TABLE = pa.table({"n": pa.array(np.arange(1000)), "s": ["text"] * 1000})
FACTS = {"unitId": "u", "frames": 7, "host": {"ü": [1.5, None]}}


def test_a_file_holds_its_rows_and_its_facts():
    content = encode(TABLE, FACTS)

    assert pq.read_table(pa.BufferReader(content)).equals(TABLE)
    footer = parse_footer(content)
    assert footer.rows == 1000
    assert footer.facts == FACTS


def test_it_is_compressed_with_zstd():
    metadata = pq.read_metadata(pa.BufferReader(encode(TABLE, FACTS)))

    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_footer_is_enough():
    content = encode(TABLE, FACTS)
    size = footer_size(content[-8:])

    assert size < len(content)
    assert parse_footer(content[-size:]).facts == FACTS
    assert parse_footer(content[-size + 1 :]) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"no Parquet at all, but long enough to hold one",
        encode(TABLE, FACTS)[:-1],
        encode(TABLE, FACTS)[:200],
        b"\x00" * 500 + encode(TABLE, FACTS)[-8:],
    ],
)
def test_what_is_no_whole_file_has_no_footer(content):
    assert parse_footer(content) is None


def test_a_file_of_somebody_else_has_no_facts():
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink)

    assert parse_footer(sink.getvalue().to_pybytes()) is None


@pytest.mark.parametrize("text", ["not JSON", "[1]"])
def test_facts_that_are_no_json_object_do_not_count(text):
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE.replace_schema_metadata({"carpool": text}), sink)

    assert parse_footer(sink.getvalue().to_pybytes()) is None


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_a_file_depends_on_its_rows_not_on_the_parts_in_which_they_came(cuts):
    edges = [0, *sorted(cuts), 1000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS_PER_GROUP", 300)
        whole, parts = TableBuffer(TABLE.schema), TableBuffer(TABLE.schema)
        whole.write(TABLE)
        for first, end in itertools.pairwise(edges):
            parts.write(TABLE.slice(first, end - first))
        assert parts.rows == 1000
        content = parts.finish(FACTS)
        assert content == whole.finish(FACTS)

    file = pq.ParquetFile(pa.BufferReader(content))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [
        300,
        300,
        300,
        100,
    ]
    assert file.read().equals(TABLE)


def test_a_table_without_rows_is_a_file_with_columns():
    content = TableBuffer(TABLE.schema).finish(FACTS)

    assert pq.read_table(pa.BufferReader(content)).schema == TABLE.schema
    assert parse_footer(content).rows == 0
