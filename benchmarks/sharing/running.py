"""Runs a cell once: starts its processes, lets the clock run, and says what came out."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.host.cpu_time import cpu_seconds
from benchmarks.host.hosts import serving
from benchmarks.host.process_memory import pss_mib
from benchmarks.sharing.arms.carpool_host import carpool_client
from benchmarks.sharing.arms.grpc_clients import grpc_client
from benchmarks.sharing.arms.grpc_server import serve
from benchmarks.sharing.arms.loops import Manner, Trials, loop
from benchmarks.sharing.arms.own_model import own_model
from benchmarks.sharing.cells import COPIES, GIB, LOOPS, Cell, share_bytes
from benchmarks.sharing.device_memory import DeviceMemory
from benchmarks.sharing.engines import Engine, load_engine
from benchmarks.sharing.figures import Answer, latencies, life_rate, steady, steady_window
from benchmarks.sharing.handlers import FLOAT_BYTES
from benchmarks.sharing.tasks import (
    PATIENCE,
    ArmFailed,
    MakeWay,
    Process,
    Report,
    life,
    reports,
    task,
)
from benchmarks.sharing.workloads import Target, Workload
from carpool.host.config import ModelFiles
from carpool.host.inquiry import ask_figures
from carpool.vision.handler import Rows

SETTLE = 0.2
"""Seconds from the moment in which all are ready to the begin of the clock."""
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all cells of a run.

    Attributes:
        target: the device.
        seconds: measured in a run of a cell, of which the first and last tenth do not count.
        task_items: of a task in arm (a).
        largest: most items of a batch of servers and loops.
        manners: that loops try.
        trial_seconds: for each of these.
        host_options: further fields of the host's configuration.
        clip: what e2 decodes.
    """

    target: Target
    seconds: float
    task_items: int
    largest: int
    manners: Sequence[Manner]
    trial_seconds: float
    host_options: Mapping[str, Any]
    clip: Path | None = None


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
    pool: NDArray[np.uint8],
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


def reference_rows(
    workload: Workload, settings: Settings, pool: NDArray[np.uint8]
) -> Mapping[int, Rows]:
    """Rows of all frames of the pool from a plain loop: what every arm must find."""
    chunk = min(8, settings.largest)
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        load = partial(
            _load,
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


def _load(
    workload: Workload,
    settings: Settings,
    folder: Path,
    *,
    share: int | None,
    batch: int,
    threads: int,
    shapes_repeat: bool = True,
) -> Engine:
    return load_engine(
        workload,
        settings.target,
        share=share,
        batch=batch,
        threads=threads,
        device_file=folder / "device",
        shapes_repeat=shapes_repeat,
    )


def _own_model(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8], folder: Path
) -> MakeWay:
    # On a CPU each task has its share of the cores, at least one, as spark.task.cpus gives it.
    threads = max(1, settings.target.cores // cell.tasks)
    load = partial(
        _load,
        workload,
        settings,
        folder,
        share=share_bytes(cell),
        batch=cell.chunk,
        threads=threads,
    )
    return partial(own_model, load, pool, cell.chunk, warm_up=0 if cell.arm == "a" else _WARM_UP)


def _run_tasks(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8], folder: Path
) -> Result:
    begun = time.monotonic()
    memory = DeviceMemory(settings.target)
    with ExitStack() as stack:
        made = stack.enter_context(_way(cell, workload, settings, pool, folder))
        running = [
            stack.enter_context(Process(task, made.make, number, cell.chunk))
            for number in range(cell.tasks)
        ]
        for process in running:
            process.receive()
        begin = time.monotonic() + SETTLE
        end = begin + settings.seconds
        start_up = begin - begun
        with _watching(begin, end, memory) as seen:
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


@dataclass(slots=True)
class _Made:
    """How the tasks of a cell ask, and what is known of the arm after they did."""

    make: MakeWay
    figures: Callable[[Sequence[Report]], dict[str, Any]]


@contextmanager
def _way(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8], folder: Path
) -> Iterator[_Made]:
    if cell.arm in COPIES:
        yield _Made(_own_model(cell, workload, settings, pool, folder), partial(_copies, cell))
    elif cell.arm == "d":
        with _carpool(cell, workload, settings, pool) as made:
            yield made
    else:
        with _grpc(cell, workload, settings, pool, folder) as made:
            yield made


def _copies(cell: Cell, found: Sequence[Report]) -> dict[str, Any]:
    facts = [report.facts for report in found]
    each = [fact["device_bytes"] for fact in facts if fact["device_bytes"] is not None]
    return {
        "copies": sum(fact["loads"] for fact in facts),
        "weights_bytes": facts[0]["weights_bytes"],
        "process_device_bytes": max(each) if each else None,
        "mean_batch": cell.chunk,
    }


@contextmanager
def _carpool(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8]
) -> Iterator[_Made]:
    simulated = settings.target.kind == "simulated"
    floats = cell.without == "uint8"
    shape, frames = workload.shape, pool
    if floats:
        # The four bytes of each float32 value: what a client sends that normalises by itself.
        frames = pool.astype(np.float32).view(np.uint8)
        shape = (*shape[:2], FLOAT_BYTES * shape[2])
    options = dict(settings.host_options)
    if simulated:
        options |= {"backend": "simulated", "simulated": replace(workload.simulated)}
    if cell.without and not floats:
        options["without"] = (cell.without,)
    handler = workload.float_handler if floats else workload.handler
    assert handler is not None, f"{workload.name} has no handler of float32 items"
    with serving(
        handler,
        shape,
        parameters=workload.parameters,
        model=ModelFiles(
            uri=str(workload.model) if workload.model else None,
            files={role: str(path) for role, path in workload.files.items()},
        ),
        device=settings.target.device,
        memory_bytes=_host_bytes(cell, settings),
        expected_clients=cell.tasks,
        request_items=min(cell.chunk, 16),
        **options,
    ) as host:
        before: dict[str, Any] = {}

        def figures(found: Sequence[Report]) -> dict[str, Any]:
            asked = ask_figures(host.socket, 5.0) or before
            models = {report.facts["model"] for report in found}
            batches = max(1, asked["batches"])
            return {
                "copies": len(models),
                "weights_bytes": found[0].facts["weights_bytes"],
                "device": found[0].facts["device"],
                "load_s": found[0].facts["load_seconds"] + found[0].facts["warm_up_seconds"],
                "mean_batch": round(asked["batch_items"] / batches, 3),
                "batch_sizes": asked["batch_sizes"],
                "phases_ms": asked["phases_ms"],
            }

        yield _Made(partial(carpool_client, host, frames), figures)


@contextmanager
def _grpc(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8], folder: Path
) -> Iterator[_Made]:
    floats, target = cell.arm == "c", settings.target
    largest = max(settings.largest, cell.chunk)
    # (c+) has two threads that compute: with a device, one gathers while the other waits. On a CPU
    # a model that may be used by several threads has a core for each, as Carpool's host does it.
    workers, threads = (1 if floats else 2), target.cores
    if target.kind == "cpu" and not floats:
        reentrant = workload.model is not None
        workers, threads = (target.cores, 1) if reentrant else (1, target.cores)
    load = partial(
        _load,
        workload,
        settings,
        folder,
        share=share_bytes(cell),
        batch=largest,
        threads=threads,
        shapes_repeat=not floats,
    )
    address = folder / "grpc.sock"
    with Process(
        partial(
            serve,
            shape=workload.shape,
            largest=largest,
            clients=cell.tasks,
            floats=floats,
            workers=workers,
        ),
        address,
        load,
    ) as server:
        server.receive()

        def figures(found: Sequence[Report]) -> dict[str, Any]:  # noqa: ARG001 - the server knows
            server.send("end")
            asked = server.receive()
            return {
                "copies": asked["loads"],
                "weights_bytes": asked["weights_bytes"],
                "process_device_bytes": asked["device_bytes"],
                "mean_batch": asked["mean_batch"],
            }

        yield _Made(partial(grpc_client, address, pool, cell.chunk, floats=floats), figures)


def _host_bytes(cell: Cell, settings: Settings) -> int | None:
    """The host's share of the device; on CUDA it counts its context itself."""
    if settings.target.kind == "cuda":
        return int(cell.budget_gib * GIB) or None
    return share_bytes(cell)


class _Watching:
    """CPU time in the steady window, memory in its middle."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self.cpu = 0.0
        self.pss = 0.0
        self.device: dict[str, Any] = {}

    def look(self, begin: float, end: float) -> None:
        first, last = steady_window(begin, end)
        time.sleep(max(0.0, first - time.monotonic()))
        pids = [process.pid for process in psutil.Process().children(recursive=True)]
        before = _cpu(pids)
        time.sleep(max(0.0, (first + last) / 2 - time.monotonic()))
        self.pss = sum(_pss(pid) for pid in pids)
        self.device = self._memory.look(pids)
        time.sleep(max(0.0, last - time.monotonic()))
        after = _cpu(pids)
        self.cpu = sum(after[pid] - before[pid] for pid in after if pid in before)

    def figures(self, answers: Sequence[Answer], begin: float, end: float) -> dict[str, Any]:
        first, last = steady_window(begin, end)
        items = sum(answer.items for answer in answers if first <= answer.done < last)
        return {
            "cpu_s_per_1000": round(1e3 * self.cpu / items, 4),
            "memory_mib": round(self.pss, 1),
            **self.device,
        }


@contextmanager
def _watching(begin: float, end: float, memory: DeviceMemory) -> Iterator[_Watching]:
    """Look while the block runs, in a thread: the block waits for the tasks."""
    watching = _Watching(memory)
    thread = threading.Thread(target=watching.look, args=(begin, end))
    thread.start()
    try:
        yield watching
    finally:
        thread.join()


def _cpu(pids: Sequence[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        with suppress(OSError):
            found[pid] = cpu_seconds([pid])
    return found


def _pss(pid: int) -> float:
    with suppress(OSError):
        return pss_mib(pid)
    return 0.0


def _run_lives(
    cell: Cell, workload: Workload, settings: Settings, pool: NDArray[np.uint8], folder: Path
) -> Result:
    """Tasks one after the other in each lane; the second of each lane is measured, whole.

    The first of a lane has fewer items than the others, in each lane another number: otherwise all
    would load at once and the device would be idle meanwhile, which would be unfair to this arm.
    Lanes go on until each has measured its task, so that none is alone at the end.
    """
    make = _own_model(cell, workload, settings, pool, folder)
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
    figures = _copies(cell, found) | {
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
    pool: NDArray[np.uint8],
    folder: Path,
    *,
    best: Manner | None,
) -> Result:
    target = settings.target
    manners = [best] if best else settings.manners
    if cell.arm == "e0" and not best:
        manners = [manner for manner in manners if manner.lanes == 1 or target.kind == "cpu"]
    largest = max(manner.batch for manner in manners)
    load = partial(
        _load, workload, settings, folder, share=None, batch=largest, threads=target.cores
    )
    begun = time.monotonic()
    main: Callable[..., None] = partial(loop, clip=settings.clip, decoders=target.cores)
    trials = Trials(manners, settings.trial_seconds, settings.seconds)
    with Process(main, load, pool, cell.arm, trials) as process:
        figures = process.receive()
    rows = figures.pop("rows")
    copies = figures.pop("loads")
    figures |= {"copies": copies, "wall_s": round(time.monotonic() - begun, 3)}
    return Result(figures, rows)
