"""What the page says of a record: the figures, the goals, and what does not fit or is behind."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from benchmarks.host.machine import machine
from benchmarks.sharing import page, plots
from benchmarks.sharing.record import summaries


def run(arm: str, rate: float | None, **cell: Any) -> dict[str, Any]:
    fields = {"budget_gib": 8.0, "without": "", "tasks": 16, "chunk": 8, "network": "yolov3"}
    fields |= {"arm": arm, "repeat": 0, "session": 0, **cell}
    if rate is None:
        return fields | {"unfit": "no room"}
    return fields | {
        "items_per_s": rate,
        "cpu_s_per_1000": 1.0,
        "mean_batch": 8.0,
        "life_s": 20.0,
        "copies": 1,
        "chunk_ms": {"p50": 1.0, "p99": 2.0},
        "difference": {"frames": 64, "rows": 700, "largest": 0.25, "unpaired": 0.01},
        "same": True,
    }


def loop(arm: str, rate: float) -> dict[str, Any]:
    manner = {"batch": 32, "lanes": 2, "recorded": True}
    return run(arm, rate, tasks=1, chunk=0, budget_gib=0.0) | {
        "manner": manner,
        "tried": [manner | {"items_per_s": rate}],
    }


def record(carpool: float, roof: float) -> dict[str, Any]:
    runs = [
        *(run("a", 400.0, tasks=4), run("a", None)),
        *(run("b", 700.0, tasks=4), run("b", None)),
        *(run("c+", 900.0, tasks=4), run("c+", 1100.0)),
        *(run("d", 880.0, tasks=4), run("d", carpool)),
        run("d", 0.5 * carpool, without="overlap"),
        loop("e1", roof),
    ]
    session = {"date": "2026-01-01", "machine": machine(), "seconds": 4.0, "task_items": 1500}
    return {
        "device": "a card",
        "networks": {"yolov3": "the full network"},
        "sessions": [session],
        "cells": list(summaries(runs)),
    }


def text(document: dict[str, Any], name: str = "gpu") -> str:
    return "\n".join(page.section(name, document))


def test_goals_that_are_met_are_said_to_be():
    said = text(record(carpool=1200.0, roof=1250.0))
    assert "(d) / (a) with 8 GiB: **3.00** (goal 2.36: **met**)" in said
    assert "(d) / (e1): **0.960** (goal 0.95: **met**)" in said


def test_goals_that_are_missed_are_said_to_be():
    said = text(record(carpool=900.0, roof=1250.0))
    assert "(d) / (a) with 8 GiB: **2.25** (goal 2.36: **missed**)" in said
    assert "(goal 0.95: **missed**)" in said


def test_a_device_that_is_no_gpu_has_no_goals():
    assert "goal" not in text(record(carpool=1200.0, roof=1250.0), "simulated")


def test_a_cell_in_which_carpool_is_behind_is_named_and_one_that_does_not_fit_counted():
    said = text(record(carpool=1200.0, roof=1250.0))
    assert "**behind** in 1: 0.98 with 4 tasks, chunks of 8 and 8 GiB" in said
    assert "in 1 (b) does not fit" in said
    assert "| 8 GiB | 16 | 8 | too many | too many | 1,100 | 1,200 |" in said


def test_an_idea_is_worth_what_is_lost_without_it():
    said = text(record(carpool=1200.0, roof=1250.0))
    assert "| overlap (nothing is staged while a batch runs) | 16, 8 | 600 | 0.500 |" in said


def test_rows_that_differ_and_arms_that_failed_are_said():
    document = record(carpool=1200.0, roof=1250.0)
    assert "All within tolerance. No cell failed." in text(document)
    compared = next(row for row in document["cells"] if "same" in row)
    compared["same"] = False
    document["cells"].append({**run("c", None), "failed": "boom"})
    said = text(document)
    assert "**1 cells are out of tolerance.**" in said
    assert "**1 cells failed.**" in said


def test_a_record_can_be_drawn(tmp_path):
    figure = plots.draw(record(carpool=1200.0, roof=1250.0))
    figure.savefig(tmp_path / "gpu.png")
    plt.close(figure)
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_load_of_a_gpu_is_shown_where_its_driver_told_it() -> None:
    told = record(1500.0, 1600.0)
    for row in told["cells"]:
        if "items_per_s" in row:
            row["gpu_busy"] = {"median": 0.97, "q1": 0.9, "q3": 0.99, "n": 3}
            row["watts"] = {"median": 512.3, "q1": 500.0, "q3": 520.0, "n": 3}

    assert "device busy, mean W" in text(told)
    assert "| 97%, 512 |" in text(told)
    assert "device busy" not in text(record(1500.0, 1600.0))
