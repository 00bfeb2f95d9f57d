"""Arm (a) is measured at its own best: whole chunks, algorithms tried out where that pays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.sharing import bench_gpu, lives
from benchmarks.sharing.cells import Cell
from benchmarks.sharing.figures import Result
from benchmarks.sharing.frames import POOL
from benchmarks.sharing.tasks import DoesNotFit, chunks_of

CELL = Cell("yolov3", "a", 4, 8, 8)


@pytest.fixture
def run(monkeypatch):
    """Measures with rates by whether algorithms are tried out; None does not fit."""

    def run(
        rates: dict[bool, float | None], tuned: bool | None = None, kind: str = "cuda"
    ) -> Result:
        def one(*_: Any, tuned: bool) -> Result:
            rate = rates[tuned]
            if rate is None:
                raise DoesNotFit("no room")
            return Result({"items_per_s": rate, "tuned": tuned}, {})

        monkeypatch.setattr(lives, "_run", one)
        settings: Any = SimpleNamespace(target=SimpleNamespace(kind=kind))
        pool = np.zeros((0,), np.uint8)
        return lives.run_lives(CELL, SimpleNamespace(), settings, pool, Path(), tuned=tuned)

    return run


def test_the_first_run_tries_both_and_counts_at_the_better(run):
    for better in (True, False):
        found = run({better: 9.0, not better: 7.0}).figures
        assert (found["items_per_s"], found["tuned"]) == (9.0, better)
        assert {each["tuned"]: each["items_per_s"] for each in found["tried"]} == {
            better: 9.0,
            not better: 7.0,
        }


def test_a_later_run_is_made_in_the_better_way_alone(run):
    found = run({True: 7.0}, tuned=True).figures
    assert (found["items_per_s"], "tried" in found) == (7.0, False)


def test_trials_that_do_not_fit_do_not_make_the_cell_unfit(run):
    assert run({True: None, False: 7.0}).figures["tuned"] is False
    with pytest.raises(DoesNotFit, match="no room"):
        run({True: None, False: None})


def test_a_processor_has_nothing_to_try_out(run):
    assert "tried" not in run({True: 7.0}, kind="cpu").figures


@pytest.mark.parametrize("chunk", bench_gpu.CHUNKS)
def test_a_task_of_the_sweep_has_whole_chunks_so_no_shape_comes_once(chunk):
    assert {each.items for each in chunks_of(bench_gpu.TASK_ITEMS, chunk)} == {chunk}
    assert POOL % chunk == 0
