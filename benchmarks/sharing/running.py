"""Runs a cell once: starts its processes, lets the clock run, and says what came out."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.arms.loops import Trials, loop
from benchmarks.sharing.arms.own_model import own_model
from benchmarks.sharing.cells import LOOPS, Cell
from benchmarks.sharing.device_memory import DeviceMemory
from benchmarks.sharing.figures import latencies, life_rate, steady
from benchmarks.sharing.starting import (
    Pool,
    Settings,
    copies,
    load_model,
    model_of_its_own,
    ways,
)
from benchmarks.sharing.tasks import PATIENCE, ArmFailed, Process, Report, life, reports, task
from benchmarks.sharing.watching import watching
from benchmarks.sharing.workloads import Workload
from carpool.vision.handler import Rows

SETTLE = 0.2
"""Seconds from the moment in which all are ready to the begin of the clock."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of a cell gave.

    Attributes:
        figures: for the record.
        rows: of frames of the pool.
    """

    figures: dict[str, Any]
    rows: Mapping[int, Rows]


def run_cell(
    cell: Cell,
    workload: Workload,
    settings: Settings,
    pool: Pool,
    best: Manner | None = None,
) -> Result:
    """Measure a cell once.

    Args:
        cell: what.
        workload: its network.
        settings: of the run.
        pool: frames of the network's shape.
        best: the manner that an earlier run of a loop found best.

    Raises:
        DoesNotFit: the budget does not hold it.
        NothingAnswered: the time was too short for a chunk.
        ArmFailed: a process of it failed.
    """
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        if cell.arm in LOOPS:
            return _run_loop(cell, workload, settings, pool, Path(folder), best=best)
        if cell.arm == "a":
            return _run_lives(cell, workload, settings, pool, Path(folder))
        return _run_tasks(cell, workload, settings, pool, Path(folder))


def reference_rows(workload: Workload, settings: Settings, pool: Pool) -> Mapping[int, Rows]:
    """Rows of all frames of the pool from a plain loop: what every arm must find."""
    chunk = min(8, settings.largest)
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        load = partial(
            load_model,
            workload,
            settings,
            Path(folder),
            share=None,
            batch=chunk,
            threads=settings.target.cores,
        )
        with Process(
            life, partial(own_model, load, pool, chunk, warm_up=0), len(pool), chunk
        ) as one:
            report: Report = one.receive()
            return report.rows


def _run_tasks(
    cell: Cell, workload: Workload, settings: Settings, pool: Pool, folder: Path
) -> Result:
    begun = time.monotonic()
    memory = DeviceMemory(settings.target)
    with ExitStack() as stack:
        made = stack.enter_context(ways(cell, workload, settings, pool, folder))
        running = [
            stack.enter_context(Process(task, made.make, number, cell.chunk))
            for number in range(cell.tasks)
        ]
        for process in running:
            process.receive()
        begin = time.monotonic() + SETTLE
        end = begin + settings.seconds
        start_up = begin - begun
        with watching(begin, end, memory) as seen:
            found = reports(running, begin, end)
        figures = made.figures(found)
    everything = [answer for report in found for answer in report.answers]
    figures |= steady(everything, begin, end)
    figures |= seen.figures(everything, begin, end)
    figures |= {
        "start_up_s": round(start_up, 3),
        "wall_s": round(time.monotonic() - begun, 3),
        "items_by_task": [sum(answer.items for answer in each.answers) for each in found],
    }
    return Result(figures, found[0].rows)


def _run_lives(
    cell: Cell, workload: Workload, settings: Settings, pool: Pool, folder: Path
) -> Result:
    """Tasks one after the other in each lane; the second of each lane is measured, whole.

    The first of a lane has fewer items than the others, in each lane another number: otherwise all
    would load at once and the device would be idle meanwhile, which would be unfair to this arm.
    Lanes go on until each has measured its task, so that none is alone at the end.
    """
    make = model_of_its_own(cell, workload, settings, pool, folder)
    chunk, items = cell.chunk, settings.task_items
    begun = time.monotonic()
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
    seconds = [each for each, _ in measured.values()]
    found = [report for _, report in measured.values()]
    everything = [answer for report in found for answer in report.answers]
    figures = copies(cell, found) | {
        "items_per_s": round(life_rate(items, seconds), 3),
        "chunk_ms": latencies(everything),
        "life_s": round(float(np.median(seconds)), 3),
        "task_items": items,
        "cpu_s_per_1000": round(1e3 * sum(r.cpu_seconds for r in found) / items / len(found), 4),
        "wall_s": round(time.monotonic() - begun, 3),
    }
    return Result(figures, measured[0][1].rows)


def _run_loop(
    cell: Cell,
    workload: Workload,
    settings: Settings,
    pool: Pool,
    folder: Path,
    *,
    best: Manner | None,
) -> Result:
    target = settings.target
    manners = [best] if best else settings.manners
    largest = max(manner.batch for manner in manners)
    load = partial(
        load_model, workload, settings, folder, share=None, batch=largest, threads=target.cores
    )
    begun = time.monotonic()
    main: Callable[..., None] = partial(loop, clip=settings.clip, decoders=target.cores)
    trials = Trials(manners, settings.trial_seconds, settings.seconds)
    with Process(main, load, pool, cell.arm, trials) as process:
        figures = process.receive()
    rows = figures.pop("rows")
    figures |= {"copies": figures.pop("loads"), "wall_s": round(time.monotonic() - begun, 3)}
    return Result(figures, rows)
