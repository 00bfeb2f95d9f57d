"""One number for a result: equal exactly if the rows are.

Two runs gave the same if they found the same objects in the same frames of the same inputs,
whichever way the work was cut and wherever it lay. So the hash goes over sorted rows of (path below
the input root, frame_index, pts_ns, class_id, score, box, track_id), floats bit by bit; unit ids,
URIs, the order of files and their row groups stay out of it. One video is in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from carpool.errors import OutputNotOurs, OutputUnavailable
from carpool.outputs.columns import to_numpy
from carpool.outputs.folder import OutputFolder
from carpool.outputs.footers import TableFile, table_files
from carpool.outputs.layout import MANIFEST, TableName
from carpool.outputs.manifest import read_manifest

_HASHED: Final[tuple[TableName, ...]] = ("detections", "tracks")

_ROW: Final = np.dtype(
    [
        ("frame_index", "<i8"),
        ("pts_ns", "<i8"),
        ("class_id", "<i4"),
        ("score", "<f4"),
        ("x1", "<f4"),
        ("y1", "<f4"),
        ("x2", "<f4"),
        ("y2", "<f4"),
        ("track_id", "<i8"),
    ]
)


def result_hash(folder: OutputFolder, paths: Mapping[str, str] | None = None) -> str:
    """The hash of all detections and tracks in a folder.

    Args:
        folder: the output.
        paths: path below the input root by URI of each video; by default from the manifest.

    Returns:
        A SHA-256 in hexadecimal.

    Raises:
        OutputNotOurs: a file holds rows of a video that is not among the inputs.
        OutputUnavailable: there is no manifest, or the storage does not answer.
    """
    by_uri = _paths_from_manifest(folder) if paths is None else paths
    digest = hashlib.sha256()
    for table in _HASHED:
        for path, files in sorted(_files_by_path(folder, table, by_uri).items()):
            rows = _sorted_rows(folder, files)
            if len(rows):
                digest.update(f"{table}\n{path}\n{len(rows)}\n".encode())
                digest.update(rows.tobytes())
    return digest.hexdigest()


def _paths_from_manifest(folder: OutputFolder) -> dict[str, str]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise OutputUnavailable(
            f"{folder.uri} has no {MANIFEST}: the job that writes there is not finished"
        )
    return {each.uri: each.path for each in manifest.inputs}


def _files_by_path(
    folder: OutputFolder, table: TableName, paths: Mapping[str, str]
) -> dict[str, list[TableFile]]:
    files = defaultdict(list)
    for file in table_files(folder, table).values():
        uri = str(file.facts.get("videoUri"))
        if uri not in paths:
            raise OutputNotOurs(f"{folder.uri}/{file.path}: {uri} is not an input of the job")
        files[paths[uri]].append(file)
    return files


def _sorted_rows(folder: OutputFolder, files: Sequence[TableFile]) -> NDArray[np.void]:
    rows = np.concatenate([_rows(folder, file) for file in files])
    names = _ROW.names or ()
    order = np.lexsort([rows[name] for name in reversed(names)])
    ordered: NDArray[np.void] = rows[order]
    return ordered


def _rows(folder: OutputFolder, file: TableFile) -> NDArray[np.void]:
    with folder.open(file.path) as source:
        parquet = pq.ParquetFile(source)
        present = [name for name in _ROW.names or () if name in parquet.schema_arrow.names]
        table = parquet.read(columns=[*present, "video_uri"])
    _refuse_other_videos(folder, file, table)
    rows = np.empty(table.num_rows, _ROW)
    rows["track_id"] = -1
    for name in present:
        rows[name] = to_numpy(table.column(name))
    for name in ("score", "x1", "y1", "x2", "y2"):
        rows[name] += np.float32(0)  # -0 and 0 are the same result
    return rows


def _refuse_other_videos(folder: OutputFolder, file: TableFile, table: Any) -> None:
    for uri in pc.unique(table.column("video_uri")).to_pylist():
        if uri != file.facts["videoUri"]:
            raise OutputNotOurs(
                f"{folder.uri}/{file.path} holds rows of {uri}, but its footer says "
                f"{file.facts['videoUri']}"
            )
