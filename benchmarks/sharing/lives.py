"""Arm (a): task after task, each with a process and a model of its own; see `own_model`.

A task is short, so it may lose by trying algorithms out what it gains by the best of them. Which of
both is better depends on the card and on how many do it at once, so a cell is run both ways once,
and at its better one from then on.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from benchmarks.sharing.cells import Cell
from benchmarks.sharing.device_load import DeviceLoad
from benchmarks.sharing.figures import Result, latencies, life_rate
from benchmarks.sharing.starting import Pool, Settings, copies, model_of_its_own
from benchmarks.sharing.tasks import PATIENCE, ArmFailed, DoesNotFit, Process, Report, life
from benchmarks.sharing.workloads import Workload


def run_lives(
    cell: Cell,
    workload: Workload,
    settings: Settings,
    pool: Pool,
    folder: Path,
    *,
    tuned: bool | None,
) -> Result:
    """Measure a cell of arm (a).

    Args:
        cell: what.
        workload: its network.
        settings: of the run.
        pool: frames of the network's shape.
        folder: for this run alone.
        tuned: whether tasks choose their algorithms by trial; None tries both where it matters, and
            gives the better, whose figures say which it was.

    Raises:
        DoesNotFit: the budget does not hold it, either way.
        ArmFailed: a process of it failed.
    """
    ways = [tuned] if tuned is not None else [False, True]
    if settings.target.kind != "cuda":
        ways = [True]  # there is nothing to choose
    begun = time.monotonic()
    found, unfit = [], None
    for way in ways:
        try:
            found.append(_run(cell, workload, settings, pool, folder, tuned=way))
        except DoesNotFit as error:
            unfit = error
    if not found:
        assert unfit is not None
        raise unfit
    best = max(found, key=lambda each: float(each.figures["items_per_s"]))
    best.figures["wall_s"] = round(time.monotonic() - begun, 3)
    if len(found) > 1:
        best.figures["tried"] = [
            {name: each.figures[name] for name in ("tuned", "items_per_s")} for each in found
        ]
    return best


def _run(
    cell: Cell, workload: Workload, settings: Settings, pool: Pool, folder: Path, *, tuned: bool
) -> Result:
    """Tasks one after the other in each lane; the second of each lane is measured, whole.

    The first of a lane has fewer items than the others, in each lane another number: otherwise all
    would load at once and the device would be idle meanwhile, which would be unfair to this arm.
    Lanes go on until each has measured its task, so that none is alone at the end.
    """
    make = model_of_its_own(cell, workload, settings, pool, folder, shapes_repeat=tuned)
    chunk, items = cell.chunk, settings.task_items
    load = DeviceLoad(settings.target)
    measured: dict[int, tuple[float, Report]] = {}
    with ExitStack() as stack:
        lanes: dict[int, tuple[Process, float, int]] = {}

        def start(lane: int, number: int) -> None:
            first = math.ceil(items * (lane + 1) / cell.tasks / chunk) * chunk
            now = time.monotonic()
            process = Process(life, make, items if number else first, chunk)
            lanes[lane] = process, now, number
            stack.callback(process.close)

        for lane in range(cell.tasks):
            start(lane, 0)
        load.begin()
        stack.callback(load.end)
        while len(measured) < cell.tasks:
            ready = wait([process.control for process, _, _ in lanes.values()], PATIENCE)
            if not ready:
                raise ArmFailed(f"no task ended for {PATIENCE:g} s")
            for lane, (process, since, number) in list(lanes.items()):
                if process.control not in ready:
                    continue
                report: Report = process.receive()
                process.join()
                if number == 1:
                    measured[lane] = time.monotonic() - since, report
                start(lane, number + 1)
        seen = load.end()
    seconds = [each for each, _ in measured.values()]
    found = [report for _, report in measured.values()]
    everything = [answer for report in found for answer in report.answers]
    figures = copies(cell, found) | {
        "items_per_s": round(life_rate(items, seconds), 3),
        "chunk_ms": latencies(everything),
        "life_s": round(float(np.median(seconds)), 3),
        "task_items": items,
        "cpu_s_per_1000": round(1e3 * sum(r.cpu_seconds for r in found) / items / len(found), 4),
        **seen,
    }
    if settings.target.kind == "cuda":
        figures["tuned"] = tuned
    return Result(figures, measured[0][1].rows)
