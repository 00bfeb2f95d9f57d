"""The record of a sweep: one JSON file that grows with each run, so a sweep may be cut in pieces.

A row is written after each run of a cell; another command goes on with what is missing. A session
is one command: when, on what, with which settings. Rows of one cell from machines that differ are
kept apart by their session, and what is shown is of the device that the record names; so a sweep
that goes on elsewhere is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.host.machine import machine
from benchmarks.host.record import spread
from benchmarks.sharing.cells import Cell

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = ("gpu", "simulated", "cpu")
"""Of the records, in the order of the page."""
_OVER_RUNS = {"frames": min, "rows": min, "largest": max, "unpaired": max}
"""What is shown of a cell's comparisons: the fewest that were compared, the largest difference."""
_FIELDS = tuple(entry.name for entry in fields(Cell))


class SweepRecord:
    """A record that is written as it grows.

    Args:
        path: of the file; what it holds is gone on with.
        device: the name of the device.
        question: what is measured, in one sentence with its units.
        settings: of this session.

    Raises:
        ValueError: the file is of another device.
    """

    def __init__(self, path: Path, device: str, question: str, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._document: dict[str, Any] = {
            "benchmark": f"sharing, {path.stem}",
            "question": question,
            "device": device,
            "networks": {},
            "sessions": [],
            "cells": [],
            "runs": [],
        }
        if path.exists():
            self._document = json.loads(path.read_text(encoding="utf-8"))
        if self._document["device"] != device:
            raise ValueError(
                f"{path} was measured on {self._document['device']}, this is {device}: "
                "move the file away, or name another folder by --results"
            )
        self._document["sessions"].append(
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": machine(),
                **settings,
            }
        )

    def networks(self, names: Mapping[str, str]) -> None:
        """Say what networks are."""
        self._document["networks"] |= names

    def done(self) -> set[tuple[Cell, int]]:
        """What has been measured."""
        return {(_cell(run), run["repeat"]) for run in self._document["runs"]}

    def unfit(self) -> set[Cell]:
        """Cells that the budget does not hold."""
        return {_cell(run) for run in self._document["runs"] if "unfit" in run}

    def runs_of(self, cell: Cell) -> list[dict[str, Any]]:
        """All runs of a cell."""
        return [run for run in self._document["runs"] if _cell(run) == cell]

    def runs_of_arm(self, network: str, arm: str) -> list[dict[str, Any]]:
        """All runs of an arm."""
        return [
            run for run in self._document["runs"] if (run["network"], run["arm"]) == (network, arm)
        ]

    def add(self, cell: Cell, repeat: int, found: Mapping[str, Any]) -> None:
        """Add a run, and write the file."""
        session = len(self._document["sessions"]) - 1
        run = {**cell.as_json(), "repeat": repeat, "session": session, **found}
        self._document["runs"].append(run)
        self.write()

    def write(self) -> None:
        """Write the file whole or not at all."""
        self._document["cells"] = list(summaries(self._document["runs"]))
        self.path.parent.mkdir(exist_ok=True, parents=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(_compact(self._document), encoding="utf-8")
        draft.replace(self.path)


def read(name: str) -> dict[str, Any] | None:
    """A record as it was written; None where there is none yet."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


SPREAD = (
    "cpu_s_per_1000",
    "mean_batch",
    "start_up_s",
    "life_s",
    "memory_mib",
    "gpu_busy",
    "watts",
)
"""Figures of a run of which a cell shows median and quartiles; some have only runs of some arms."""


def summaries(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Median and quartiles of each cell's runs; cells in the order of their names."""
    by_cell: dict[Cell, list[dict[str, Any]]] = {}
    for run in runs:
        by_cell.setdefault(_cell(run), []).append(run)
    for cell in sorted(by_cell):
        found = by_cell[cell]
        row = cell.as_json()
        if unfit := [run["unfit"] for run in found if "unfit" in run]:
            yield row | {"unfit": unfit[0]}
            continue
        good = [run for run in found if "items_per_s" in run]
        if not good:
            yield row | {"failed": found[0]["failed"]}
            continue
        row["items_per_s"] = spread([run["items_per_s"] for run in good], 3)
        for name in SPREAD:
            if values := [run[name] for run in good if run.get(name) is not None]:
                row[name] = spread(values, 3)
        for name in ("device_mib", "process_device_bytes"):
            if values := [run[name] for run in good if run.get(name) is not None]:
                row[name] = max(values)
        row["chunk_ms"] = {
            q: spread([run["chunk_ms"][q] for run in good], 3)["median"] for q in ("p50", "p99")
        }
        row["copies"] = max(run["copies"] for run in good)
        if manners := [run["manner"] for run in good if "manner" in run]:
            row["manner"] = manners[0]
            # Runs after the first measure what it found best.
            row["tried"] = max((run["tried"] for run in good), key=len)
        if compared := [run["difference"] for run in good if "difference" in run]:
            row["difference"] = {
                name: least_or_most(each[name] for each in compared)
                for name, least_or_most in _OVER_RUNS.items()
            }
            row["same"] = all(run["same"] for run in good)
        yield row


def difference(found: Any) -> dict[str, Any]:
    """A `Difference` for the record."""
    return {name: round(value, 5) for name, value in asdict(found).items()}


def _cell(run: Mapping[str, Any]) -> Cell:
    return Cell(**{name: run[name] for name in _FIELDS})


def _compact(document: Mapping[str, Any]) -> str:
    """JSON with a line for each run and each cell, so that changes can be read."""
    parts = []
    for name, value in document.items():
        if name in ("runs", "cells") and value:
            lines = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f" {json.dumps(name)}: [\n  {lines}\n ]")
        else:
            text = json.dumps(value, indent=1).replace("\n", "\n ")
            parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
