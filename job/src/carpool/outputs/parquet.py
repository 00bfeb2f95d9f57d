"""Tables to bytes and back: Parquet with the facts of what made it in the footer.

A file carries its own account (which unit, how many frames, how long it took) as JSON under the key
`carpool` of the footer, so rows and account are committed by one atomic step, and a listing plus
footers is all that a resumed job has to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_FACTS_KEY: Final = "carpool"
_MAGIC: Final = b"PAR1"
_FOOTER_END: Final = Struct("<I4s")
"""Length of the metadata, and the magic number: https://parquet.apache.org/docs/file-format/"""
_COMPRESSION: Final = "zstd"
_ROWS_PER_GROUP: Final = 1 << 17
"""Rows gathered before a row group is written: some megabytes."""


class TableBuffer:
    """A table that grows in memory, compressed, until it is complete.

    Only one row group is ever held uncompressed, so the tracks of a video with millions of rows
    take some tens of megabytes. Row groups depend on the rows alone, not on how they were cut into
    parts.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._sink, schema, compression=_COMPRESSION)
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self.rows = 0

    def write(self, part: Any) -> None:
        """Append rows.

        Args:
            part: a `pyarrow.Table` with the schema of the buffer.
        """
        self._waiting.append(part)
        self._waiting_rows += part.num_rows
        self.rows += part.num_rows
        if self._waiting_rows >= _ROWS_PER_GROUP:
            self._write_groups()

    def finish(self, facts: Mapping[str, Any]) -> bytes:
        """Close the table with its facts and give the file's bytes; the buffer is spent."""
        self._write_groups(last=True)
        self._writer.add_key_value_metadata({_FACTS_KEY: json.dumps(facts, sort_keys=True)})
        self._writer.close()
        content: bytes = self._sink.getvalue().to_pybytes()
        return content

    def _write_groups(self, *, last: bool = False) -> None:
        # Not `empty_table`, which makes its columns with what columns.py says not to use.
        nothing = pa.Table.from_batches([], schema=self._schema)
        waiting = pa.concat_tables([nothing, *self._waiting])
        whole = waiting.num_rows - (0 if last else waiting.num_rows % _ROWS_PER_GROUP)
        for start in range(0, whole, _ROWS_PER_GROUP):
            group = waiting.slice(start, min(_ROWS_PER_GROUP, whole - start))
            self._writer.write_table(group, row_group_size=_ROWS_PER_GROUP)
        rest = waiting.slice(whole)
        self._waiting = [rest] if rest.num_rows else []
        self._waiting_rows = rest.num_rows


def encode(table: Any, facts: Mapping[str, Any]) -> bytes:
    """The Parquet file of a table and its facts.

    Args:
        table: a `pyarrow.Table`.
        facts: what JSON can hold; goes into the footer.

    Returns:
        The complete file.
    """
    buffer = TableBuffer(table.schema)
    buffer.write(table)
    return buffer.finish(facts)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says about itself.

    Attributes:
        rows: rows of the table.
        facts: what its writer recorded.
    """

    rows: int
    facts: dict[str, Any]


def footer_size(end: bytes) -> int:
    """How many bytes at the end of a Parquet file are its footer, told by the last eight of them.

    Args:
        end: the last bytes of the file, at least eight.

    Returns:
        The size with those eight bytes; 0 if this is not the end of a Parquet file.
    """
    if len(end) < _FOOTER_END.size:
        return 0
    length, magic = _FOOTER_END.unpack(end[-_FOOTER_END.size :])
    return length + _FOOTER_END.size if magic == _MAGIC else 0


def parse_footer(end: bytes) -> Footer | None:
    """Read the footer of a file.

    It takes bytes, not a file, so that a failure of the storage cannot be taken for a damaged file.

    Args:
        end: the last bytes of the file, at least the footer.

    Returns:
        The footer; None if the bytes are no footer that Carpool wrote.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(end))
        facts = json.loads((metadata.metadata or {})[_FACTS_KEY.encode()])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return Footer(rows=metadata.num_rows, facts=facts) if isinstance(facts, dict) else None
