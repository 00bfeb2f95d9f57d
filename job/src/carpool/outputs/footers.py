"""What lies in a table's folder: one listing, and the footer of each file.

Footers are read by many threads at once, since each costs two requests on an object store. A file
that is no whole Parquet file of ours counts as absent: its unit runs again and replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carpool.outputs.folder import Entry, OutputFolder, for_each
from carpool.outputs.layout import TableName, file_id
from carpool.outputs.parquet import footer_size, parse_footer

_LOG = logging.getLogger(__name__)
_FOOTER_GUESS: Final = 1 << 16
"""Bytes read first; the footer of a unit is a few kilobytes, that of a large video some more."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """One committed file of a table.

    Attributes:
        path: below the output folder.
        bytes: its size.
        rows: rows it holds.
        facts: what its writer recorded.
    """

    path: str
    bytes: int
    rows: int
    facts: Mapping[str, Any]


def table_files(folder: OutputFolder, table: TableName) -> dict[str, TableFile]:
    """Every committed file of a table by the unit or video it belongs to.

    Raises:
        OutputUnavailable: the storage does not answer.
    """
    found = [
        (identity, entry)
        for entry in folder.list(table)
        if entry.is_file and (identity := file_id(entry.path)) is not None
    ]
    files = for_each(lambda item: _table_file(folder, item[1]), found)
    return {
        identity: file for (identity, _), file in zip(found, files, strict=True) if file is not None
    }


def _table_file(folder: OutputFolder, entry: Entry) -> TableFile | None:
    end = folder.read_end(entry.path, entry.size, _FOOTER_GUESS)
    needed = footer_size(end)
    if len(end) < needed <= entry.size:
        end = folder.read_end(entry.path, entry.size, needed)
    footer = parse_footer(end)
    if footer is None:
        _LOG.warning("%s/%s is no Parquet file that Carpool wrote", folder.uri, entry.path)
        return None
    return TableFile(path=entry.path, bytes=entry.size, rows=footer.rows, facts=footer.facts)
