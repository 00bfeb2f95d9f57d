"""How busy a GPU is, and what it draws, as its driver tells it several times a second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from benchmarks.sharing.nvidia_smi import command
from benchmarks.sharing.workloads import Target

_EVERY_MS = 200
_QUERY = ("utilization.gpu", "power.draw")
_PATIENCE = 5.0
"""Seconds for the program to end once it is told to."""


class DeviceLoad:
    """Looks at the first GPU of the machine from `begin` to `end`; at nothing on other devices."""

    def __init__(self, target: Target) -> None:
        query = f"--query-gpu={','.join(_QUERY)}"
        self._command = command(target, query, "--id=0", f"--loop-ms={_EVERY_MS}")
        self._looking: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start to look."""
        if self._command is not None:
            self._looking = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def end(self) -> dict[str, Any]:
        """Stop, and say what was seen.

        Returns:
            `gpu_busy`: part of the time in which a kernel ran, 0 to 1; `watts`: mean power. What
            the driver does not tell is missing.
        """
        if self._looking is None:
            return {}
        self._looking.terminate()
        output, _ = self._looking.communicate(timeout=_PATIENCE)
        self._looking = None
        busy, watts = means(output.splitlines())
        found = {"gpu_busy": None if busy is None else round(busy / 100, 3), "watts": watts}
        return {name: value for name, value in found.items() if value is not None}


def means(lines: Iterable[str]) -> list[float | None]:
    """The mean of each column of numbers; None where a column has none ("[N/A]")."""
    columns: list[list[float]] = [[] for _ in _QUERY]
    for line in lines:
        fields = line.split(",")
        if len(fields) != len(_QUERY):
            continue  # cut off when the program was ended
        for column, field in zip(columns, fields, strict=True):
            try:
                column.append(float(field))
            except ValueError:
                continue
    return [round(fmean(column), 2) if column else None for column in columns]
