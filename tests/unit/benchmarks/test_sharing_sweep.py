"""A sweep writes down whatever happens, stops in time, and fails where an arm is broken."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.sharing import sweep as module
from benchmarks.sharing.cells import Cell
from benchmarks.sharing.figures import NothingAnswered, Result
from benchmarks.sharing.record import SweepRecord
from benchmarks.sharing.starting import Settings
from benchmarks.sharing.sweep import Sweep
from benchmarks.sharing.tasks import ArmFailed, DoesNotFit
from benchmarks.sharing.workloads import Target, simulated
from carpool.host.config import SimulatedDevice

CELL = Cell("simulated", "b", 4, 8, 8)
ROWS = {0: np.ones((3, 6), np.float32)}
FIGURES = {"items_per_s": 5.0, "chunk_ms": {"p50": 1.0, "p99": 2.0}, "copies": 4}
FIGURES |= {"cpu_s_per_1000": 1.0, "wall_s": 30.0}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep whose cells give what a test puts into `outcomes`, one after the other."""
    outcomes: list[object] = []
    told: list[bool | None] = []

    def run_cell(cell, workload, settings, pool, *, best=None, tuned=None):
        outcome = outcomes.pop(0)
        told.append(tuned)
        if isinstance(outcome, Exception):
            raise outcome
        return Result(FIGURES | {"tuned": True} if cell.arm == "a" else dict(FIGURES), outcome)

    monkeypatch.setattr(module, "run_cell", run_cell)
    monkeypatch.setattr(module, "reference_rows", lambda *_: ROWS)
    settings = Settings(Target("simulated", "cpu", 2), 1.0, 8, 16, [], 0.1, {})
    record = SweepRecord(tmp_path / "simulated.json", "simulated", "?", {"seconds": 1})
    workload = simulated(32, SimulatedDevice(), 0.0)
    made = Sweep(record, {"simulated": settings}, {"simulated": workload})
    made.outcomes, made.told = outcomes, told
    return made


def rows(sweep: Sweep) -> list[dict]:
    return json.loads(sweep.record.path.read_text())["cells"]


def test_equal_rows_are_the_same_and_others_fail_the_benchmark(sweep):
    sweep.outcomes += [ROWS, {0: ROWS[0] + 1}]
    assert sweep.run([CELL], 1, float("inf")) == 0
    assert (sweep.bad, rows(sweep)[0]["same"]) == (0, True)
    sweep.run([CELL], 2, float("inf"))
    assert (sweep.bad, rows(sweep)[0]["same"]) == (1, False)


def test_an_arm_that_finds_nothing_at_all_fails_the_benchmark(sweep):
    sweep.outcomes += [{}]
    sweep.run([CELL], 1, float("inf"))
    assert sweep.bad == 1


def test_an_arm_that_fails_is_written_down_and_the_others_go_on(sweep):
    sweep.outcomes += [ArmFailed("boom"), ROWS]
    sweep.run([CELL, Cell("simulated", "d", 4, 8, 8)], 1, float("inf"))
    assert sweep.bad == 1
    assert sorted(row.get("failed", "") for row in rows(sweep)) == ["", "boom"]


def test_copies_that_do_not_fit_are_written_down_and_more_of_them_not_tried(sweep):
    sweep.outcomes += [DoesNotFit("no room")]
    assert sweep.run([CELL], 3, float("inf")) == 0
    assert (sweep.bad, rows(sweep)[0]["unfit"]) == (0, "no room")
    assert not sweep.outcomes


def test_a_cell_in_which_nothing_is_answered_is_measured_for_longer(sweep):
    sweep.outcomes += [NothingAnswered("1 s"), NothingAnswered("3 s"), ROWS]
    sweep.run([CELL], 1, float("inf"))
    assert sweep.bad == 0
    sweep.outcomes += [NothingAnswered("")] * 3
    sweep.run([CELL], 2, float("inf"))
    assert sweep.bad == 1


def test_nothing_begins_that_would_end_too_late(sweep, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    # Nothing is known yet: a minute is supposed, two for (a), which is run both ways, and three for
    # a loop with its trials.
    cells = [CELL, Cell("simulated", "a", 4, 8, 8), Cell("simulated", "e1")]
    for until, left, arms in (
        (159.0, 3, ""),
        (219.0, 2, "b"),
        (279.0, 1, "ab"),
        (280.0, 0, ["a", "b", "e1"]),
    ):
        sweep.outcomes[:] = [ROWS]
        assert sweep.run(cells, 1, until) == left
        assert [row["arm"] for row in sweep.record._document["cells"]] == list(arms)
    # (b) is known to take half a minute.
    assert sweep.run([CELL], 2, 120.0) == 1
    sweep.outcomes += [ROWS]
    assert sweep.run([CELL], 2, 131.0) == 0


def test_what_the_first_run_of_a_cell_found_better_is_told_to_the_others(sweep):
    sweep.outcomes += [ROWS] * 3
    lives = Cell("simulated", "a", 4, 8, 8)
    sweep.run([lives], 2, float("inf"))
    sweep.run([CELL], 1, float("inf"))
    assert sweep.told == [None, True, None]
