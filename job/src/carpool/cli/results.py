"""`carpool results`: shows what lies in an output folder, without Spark."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from carpool.errors import NoInput
from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.completion import is_complete
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import TableName
from carpool.outputs.manifest import Manifest, read_manifest
from carpool.outputs.result_hash import result_hash
from carpool.outputs.units import committed_units

MOST_QUARANTINED = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("folder", metavar="DIR", help="an output folder: a path or a URI")
    parser.add_argument("--endpoint", help="of the object store, as spec.storage.endpoint")
    parser.add_argument("--region", help="of the object store, as spec.storage.region")
    parser.add_argument(
        "--hash",
        action="store_true",
        help="also the hash of the rows: equal for two runs exactly if their results are",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(command=results)


def results(options: argparse.Namespace) -> int:
    """Show a result."""
    folder = OutputFolder(
        options.folder, StorageOptions(endpoint=options.endpoint, region=options.region)
    )
    manifest = read_manifest(folder) if is_complete(folder) else None
    if manifest is None:
        return _unfinished(folder)
    document = _document(folder, manifest)
    if options.hash:
        document["hash"] = result_hash(folder)
    if options.output == "json":
        print(json.dumps(document))
    else:
        _show(document)
    return 0


def _unfinished(folder: OutputFolder) -> int:
    units = committed_units(folder)
    if not units:
        raise NoInput(f"{folder.uri} holds no results")
    frames = sum(facts.frames for facts in units.values())
    raise NoInput(
        f"{folder.uri} is not complete: {len(units):,} work units with {frames:,} frames are "
        "there; run the job again to go on"
    )


def _document(folder: OutputFolder, manifest: Manifest) -> dict[str, Any]:
    return {
        "job": manifest.job_name,
        "phase": manifest.phase,
        "finished": manifest.finished.isoformat(timespec="seconds"),
        **manifest.totals.as_json(),
        "counted": "tracks" if manifest.tracking_fingerprint else "detections",
        "classes": _classes(folder, manifest),
        "quarantine": _quarantine(folder, manifest),
        "output": folder.uri,
    }


def _classes(folder: OutputFolder, manifest: Manifest) -> dict[str, int]:
    """Tracks by class, or detections by class where nothing was tracked."""
    table: TableName = "track_summary" if manifest.tracking_fingerprint else "detections"
    counts: Counter[str] = Counter()
    for record in manifest.files[table]:
        with folder.open(record.path) as file:
            counts.update(pq.read_table(file, columns=["class_name"])["class_name"].to_pylist())
    return dict(counts.most_common())


def _quarantine(folder: OutputFolder, manifest: Manifest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for record in manifest.files["quarantine"][:MOST_QUARANTINED]:
        with folder.open(record.path) as file:
            rows += pq.read_table(file).drop_columns(["time", "unit_id"]).to_pylist()
    return rows


def _show(document: dict[str, Any]) -> None:
    console = Console()
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in document.items():
        if name not in ("classes", "counted", "quarantine", "hash"):
            table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    table.add_row(f"{document['counted']} by class", "")
    for name, count in document["classes"].items():
        table.add_row(f"  {name}", f"{count:,}")
    console.print(table)
    if "hash" in document:
        print(f" hash  {document['hash']}")
    if document["quarantine"]:
        quarantined = Table("video", "reason", "given", "expected", "message", title="Quarantine")
        for row in document["quarantine"]:
            quarantined.add_row(
                row["video_uri"].rpartition("/")[2],
                row["reason"],
                str(row["frames_given"]),
                "?" if row["frames_expected"] is None else str(row["frames_expected"]),
                row["message"],
            )
        console.print(quarantined)
