"""Runs a cell once: starts its processes, lets the clock run, and says what came out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.arms.loops import Trials, loop
from benchmarks.sharing.arms.own_model import own_model
from benchmarks.sharing.cells import LOOPS, Cell
from benchmarks.sharing.device_load import DeviceLoad
from benchmarks.sharing.device_memory import DeviceMemory
from benchmarks.sharing.figures import Result, steady
from benchmarks.sharing.lives import run_lives
from benchmarks.sharing.starting import Pool, Settings, load_model, ways
from benchmarks.sharing.tasks import Process, Report, life, reports, task
from benchmarks.sharing.watching import watching
from benchmarks.sharing.workloads import Workload
from carpool.vision.handler import Rows

SETTLE = 0.2
"""Seconds from the moment in which all are ready to the begin of the clock."""


def run_cell(
    cell: Cell,
    workload: Workload,
    settings: Settings,
    pool: Pool,
    *,
    best: Manner | None = None,
    tuned: bool | None = None,
) -> Result:
    """Measure a cell once.

    Args:
        cell: what.
        workload: its network.
        settings: of the run.
        pool: frames of the network's shape.
        best: the manner that an earlier run of a loop found best.
        tuned: whether an earlier run of arm (a) was better with algorithms chosen by trial.

    Raises:
        DoesNotFit: the budget does not hold it.
        NothingAnswered: the time was too short for a chunk.
        ArmFailed: a process of it failed.
    """
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        if cell.arm in LOOPS:
            return _run_loop(cell, workload, settings, pool, Path(folder), best=best)
        if cell.arm == "a":
            return run_lives(cell, workload, settings, pool, Path(folder), tuned=tuned)
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
    memory, load = DeviceMemory(settings.target), DeviceLoad(settings.target)
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
        with watching(begin, end, memory, load) as seen:
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
