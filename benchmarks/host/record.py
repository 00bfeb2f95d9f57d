"""A benchmark's record: one JSON file, from which plots and prose are made and never apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.host.machine import machine

RESULTS = Path(__file__).resolve().parent / "results"


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, quartiles and extremes of repeated measurements."""
    low, first, median, third, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    found = {"median": median, "q1": first, "q3": third, "min": low, "max": high}
    return {name: round(value, digits) for name, value in found.items()} | {"n": len(values)}


class Record:
    """What a run of a benchmark leaves behind; made at its begin, for the date and the load."""

    def __init__(
        self,
        name: str,
        question: str,
        parameters: Mapping[str, Any],
        folder: Path = RESULTS,
    ) -> None:
        """Begin a record.

        Args:
            name: of the file, without ending.
            question: what is measured, in one sentence with its units.
            parameters: everything that was chosen.
            folder: where the file is written.
        """
        self.path = folder / f"{name}.json"
        self._document = {
            "benchmark": name,
            "question": question,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "parameters": dict(parameters),
        }

    def write(self, **results: Any) -> dict[str, Any]:
        """Write the file; gives the document."""
        document = self._document | results
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return document


def read(name: str) -> dict[str, Any]:
    """A record as it was written."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return document
