"""Which names Carpool uses in an output folder.

Everything Carpool writes is named here, so that what it may delete is exactly what it wrote. Spark
and pyarrow skip names that start with a dot or an underscore; whatever else lies in the folder of a
table is part of the result.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

TableName: TypeAlias = Literal["detections", "tracks", "track_summary", "quarantine"]

TABLES: Final[tuple[TableName, ...]] = ("detections", "tracks", "track_summary", "quarantine")
OWNER: Final = "_carpool/owner.json"
OWNER_FOLDER: Final = "_carpool"
MANIFEST: Final = "_manifest.json"
SUCCESS: Final = "_SUCCESS"
CONTACT_SHEET: Final = "contact-sheet.jpg"

_PARQUET: Final = ".parquet"


def table_file(table: TableName, file_id: str) -> str:
    """The path, below the output folder, of the one file that a unit or a video has in a table."""
    return f"{table}/{file_id}{_PARQUET}"


def file_id(path: str) -> str | None:
    """The unit or video whose file `path` is; None for a path that `table_file` never gives."""
    parts = PurePosixPath(path).parts
    if len(parts) != 2 or not is_visible(path) or not path.endswith(_PARQUET):
        return None
    return parts[1].removesuffix(_PARQUET)


def is_visible(path: str) -> bool:
    """Whether readers of a table take the file at `path` (below the output folder) into account.

    Hadoop and pyarrow skip a file if any part of its path below the folder they read is hidden.
    """
    return not any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)
