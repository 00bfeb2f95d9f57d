"""Measures cells in the order of the plan, writes each down, and stops in time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing import frames
from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.cells import LOOPS, Cell, fewer_did_not_fit, missing, order
from benchmarks.sharing.comparison import TOLERANCES, Tolerance, compare
from benchmarks.sharing.figures import NothingAnswered, Result
from benchmarks.sharing.record import SweepRecord, difference
from benchmarks.sharing.running import reference_rows, run_cell
from benchmarks.sharing.starting import Settings
from benchmarks.sharing.tasks import ArmFailed, DoesNotFit
from benchmarks.sharing.workloads import Workload
from carpool.errors import CarpoolError
from carpool.vision.handler import Rows

SEED = 2026
_FIRST = {"a": 120.0} | dict.fromkeys(LOOPS, 180.0)
_ELSE = 60.0
"""Seconds that a run may take, as long as none of its arm was made: some try things first."""
_LONGER = 3
"""Times that a cell is measured, each for three times as long, until something is answered."""


@dataclass
class Sweep:
    """A sweep over cells.

    Attributes:
        record: where runs are written.
        settings: of each network.
        workloads: by name.
        bad: runs that failed, or found other rows than the reference.
    """

    record: SweepRecord
    settings: Mapping[str, Settings]
    workloads: Mapping[str, Workload]
    bad: int = 0

    def __post_init__(self) -> None:
        self._pools: dict[tuple[int, int, int], NDArray[np.uint8]] = {}
        self._references: dict[str, Mapping[int, Rows]] = {}
        self.record.networks({name: each.says for name, each in self.workloads.items()})

    def run(self, cells: Sequence[Cell], repeats: int, until: float) -> int:
        """Measure what is missing.

        Args:
            cells: to be measured.
            repeats: of each.
            until: seconds, monotonic; nothing begins that would end later.

        Returns:
            How many runs are still missing.
        """
        planned = missing(order(cells, repeats, SEED), self.record.done())
        left = len(planned)
        for cell, repeat in planned:
            # What takes too long for the time that is left waits for the next command.
            if time.monotonic() + self._expected(cell) > until:
                continue
            found = self._measure(cell)
            self.record.add(cell, repeat, found)
            left -= 1
            print(_line(cell, found), flush=True)
        return left

    def _expected(self, cell: Cell) -> float:
        """Seconds that a run will take: as the longest of its kind, or a guess."""
        if fewer_did_not_fit(cell, self.record.unfit()):
            return 0.0
        guess = _FIRST.get(cell.arm, _ELSE)
        own = [run["wall_s"] for run in self.record.runs_of(cell) if "wall_s" in run]
        arm = [
            run["wall_s"]
            for run in self.record.runs_of_arm(cell.network, cell.arm)
            if "wall_s" in run
        ]
        return float(max(own or arm or [guess]))

    def _measure(self, cell: Cell) -> dict[str, Any]:
        if smaller := fewer_did_not_fit(cell, self.record.unfit()):
            return {"unfit": f"{smaller.tasks} tasks do not fit either"}
        workload, settings = self.workloads[cell.network], self.settings[cell.network]
        try:
            reference = self._reference(workload, settings)
            result = self._long_enough(cell, workload, settings)
        except DoesNotFit as error:
            return {"unfit": str(error)}
        except (ArmFailed, NothingAnswered, CarpoolError) as error:
            self.bad += 1
            return {"failed": str(error)}
        tolerance = self._tolerance(workload, settings)
        if cell.arm == "e2":  # of other frames
            return result.figures
        apart = compare(result.rows, reference, tolerance)
        same = apart.within(tolerance)
        self.bad += not same
        return result.figures | {"difference": difference(apart), "same": same}

    def _long_enough(self, cell: Cell, workload: Workload, settings: Settings) -> Result:
        """Run a cell; on a machine on which nothing is answered in time, for longer."""
        for times in range(_LONGER):
            longer = replace(settings, seconds=settings.seconds * 3**times)
            with suppress(NothingAnswered):
                return run_cell(
                    cell,
                    workload,
                    longer,
                    self._pool(workload),
                    best=self._manner(cell),
                    tuned=self._tuned(cell),
                )
        raise NothingAnswered(f"in {longer.seconds:g} s")

    def _manner(self, cell: Cell) -> Manner | None:
        for run in self.record.runs_of(cell):
            if "manner" in run:
                return Manner(**run["manner"])
        return None

    def _tuned(self, cell: Cell) -> bool | None:
        return next((run["tuned"] for run in self.record.runs_of(cell) if "tuned" in run), None)

    def _pool(self, workload: Workload) -> NDArray[np.uint8]:
        if workload.shape not in self._pools:
            self._pools[workload.shape] = frames.pool(workload.shape)
        return self._pools[workload.shape]

    def _reference(self, workload: Workload, settings: Settings) -> Mapping[int, Rows]:
        if workload.name not in self._references:
            self._references[workload.name] = reference_rows(
                workload, settings, self._pool(workload)
            )
        return self._references[workload.name]

    @staticmethod
    def _tolerance(workload: Workload, settings: Settings) -> Tolerance:
        kind = settings.target.kind
        precision = {"cuda": "Float16", "cpu": "Float32", "simulated": "exact"}[kind]
        return TOLERANCES[precision, workload.model is not None]


def settings_by_network(
    common: Settings, changes: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> dict[str, Settings]:
    """Settings of each network: those of all, with what differs."""
    return {name: replace(common, **changes.get(name, {})) for name in names}


def _line(cell: Cell, found: Mapping[str, Any]) -> str:
    for name in ("unfit", "failed"):
        if name in found:
            return f"{cell.label:60} {name}: {found[name]}"
    batch = f"batch {found['mean_batch']:g}" if "mean_batch" in found else ""
    wrong = "" if found.get("same", True) else f"  OTHER ROWS {found['difference']}"
    return (
        f"{cell.label:60} {found['items_per_s']:9.1f} items/s  {batch:12} "
        f"{found['cpu_s_per_1000']:8.2f} CPU-s/1000{wrong}"
    )
