"""What sharing one model buys, small: on this machine's processor, and on a simulated device.

The arms, networks and code of bench_gpu, in sizes for two cores and ten minutes. The page says what
that can show and what it cannot.

Writes results/cpu.json and results/simulated.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.sharing.bench_sharing
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.cells import ARMS, IDEAS, LOOPS, Cell, grid
from benchmarks.sharing.clip import render_clip
from benchmarks.sharing.record import RESULTS, SweepRecord
from benchmarks.sharing.starting import Settings
from benchmarks.sharing.sweep import Sweep, settings_by_network
from benchmarks.sharing.workloads import Target, heavy, light, simulated, yolov3
from carpool.host.config import SimulatedDevice

QUESTION = "Items per second by arm, tasks, chunk and budget, with CPU time, memory and latency"
DEVICE = SimulatedDevice(
    base_ms=4.0, item_ms=1.0, weights_bytes=1 << 30, item_bytes=64 << 20, depth=2
)
"""b = 4·a, a gigabyte of weights: chosen, not measured. A batch of 16 takes 20 ms."""
LOAD_SECONDS = 0.5


def simulated_cells(
    tasks: Sequence[int], chunks: Sequence[int], budgets: Sequence[float]
) -> list[Cell]:
    """All arms; two budgets where there are copies, since these alone depend on it."""
    copies = grid("simulated", arms="ab", tasks=tasks, chunks=chunks, budgets=budgets)
    ends = sorted({min(tasks), max(tasks)})
    others = grid(
        "simulated", arms=("c", "c+", "d"), tasks=ends, chunks=chunks, budgets=budgets[:1]
    )
    most = max(tasks)
    ideas = [
        Cell("simulated", "d", most, chunks[0], budgets[0], idea)
        for idea in ("overlap", "shared_batches")
    ]
    return [
        *copies,
        *others,
        *ideas,
        *grid("simulated", arms=LOOPS, tasks=(), chunks=(), budgets=()),
    ]


def cpu_cells(tasks: int, chunk: int) -> list[Cell]:
    """YOLO-v3 in all arms, the others in those that say the most."""
    return [
        *_cpu("yolov3", ARMS, tasks, chunk),
        *_cpu("light", ("b", "d"), tasks, chunk),
        *_cpu("heavy", ("b", "c+", "d"), tasks, chunk),
        Cell("yolov3", "d", tasks, chunk, 0, "uint8"),
    ]


def _cpu(network: str, arms: Iterable[str], tasks: int, chunk: int) -> list[Cell]:
    return grid(network, arms=arms, tasks=(tasks,), chunks=(chunk,), budgets=(0,))


def run_simulated(options: argparse.Namespace, folder: Path, cores: int) -> int:
    """Measure on the simulated device; the number of bad runs."""
    workload = simulated(208, DEVICE, LOAD_SECONDS)
    settings = Settings(
        target=Target("simulated", "cpu", cores),
        seconds=options.seconds,
        task_items=options.task_items,
        largest=16,
        manners=[Manner(16), Manner(16, 2)],
        trial_seconds=options.seconds / 3,
        host_options={"max_batch": 16},
        clip=render_clip(folder),
    )
    record = _record(options, "simulated", "simulated", settings)
    sweep = Sweep(record, {"simulated": settings}, {"simulated": workload})
    cells = simulated_cells(options.tasks, options.chunks, options.budgets)
    return _run(sweep, cells, options)


def run_cpu(options: argparse.Namespace, folder: Path, cores: int) -> int:
    """Measure on the processor; the number of bad runs."""
    size = options.size
    makers = {
        "yolov3": lambda: yolov3(folder, size),
        "light": lambda: light(folder, 2 * size, filters=8),
        "heavy": lambda: heavy(size, 1024, options.layers, 4),
    }
    workloads = {name: makers[name]() for name in options.networks if name in makers}
    batches = (1, 2, 4)
    common = Settings(
        target=Target("cpu", "cpu", cores),
        seconds=options.cpu_seconds,
        task_items=options.cpu_task_items,
        largest=4,
        manners=[Manner(batch, lanes) for lanes in {1, cores} for batch in batches],
        trial_seconds=options.cpu_seconds / 5,
        host_options={},
        clip=render_clip(folder),
    )
    changes = {"heavy": {"manners": [Manner(8), Manner(16)], "largest": 8}}
    settings = settings_by_network(common, changes, list(workloads))
    record = _record(options, "cpu", f"cpu, {cores} cores", common)
    sweep = Sweep(record, settings, workloads)
    return _run(sweep, cpu_cells(options.cpu_tasks, options.cpu_chunk), options)


def _record(options: argparse.Namespace, name: str, device: str, settings: Settings) -> SweepRecord:
    path = options.results / f"{name}.json"
    path.unlink(missing_ok=True)  # minutes make all of it
    return SweepRecord(
        path,
        device,
        QUESTION,
        {
            "seconds": settings.seconds,
            "task_items": settings.task_items,
            "repeats": options.repeats,
        },
    )


def _run(sweep: Sweep, cells: Sequence[Cell], options: argparse.Namespace) -> int:
    chosen = [
        cell
        for cell in cells
        if cell.arm in options.arms
        and cell.network in options.networks
        and (not cell.without or cell.without in options.without)
    ]
    sweep.run(chosen, options.repeats, float("inf"))
    sweep.record.write()
    return sweep.bad


def arguments() -> argparse.ArgumentParser:
    """All that may be chosen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--without", nargs="*", choices=IDEAS, default=list(IDEAS))
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=("yolov3", "heavy", "light", "simulated"),
        default=["yolov3", "heavy", "simulated"],
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 8, 16], help="simulated")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 8], help="simulated")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[8, 16], help="simulated, GiB, ascending"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="measured, simulated")
    parser.add_argument("--task-items", type=int, default=48, help="of a task of (a), simulated")
    parser.add_argument("--size", type=int, default=64, help="of YOLO-v3's input on the CPU")
    parser.add_argument("--layers", type=int, default=64, help="of the heavy model on the CPU")
    parser.add_argument("--cpu-tasks", type=int, default=4)
    parser.add_argument("--cpu-chunk", type=int, default=4)
    parser.add_argument("--cpu-seconds", type=float, default=3.0)
    parser.add_argument("--cpu-task-items", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    return parser


def main() -> None:
    options = arguments().parse_args()
    cores = len(os.sched_getaffinity(0))
    begun = time.monotonic()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        if "simulated" in options.networks:
            bad += run_simulated(options, Path(folder), cores)
        if set(options.networks) - {"simulated"}:
            bad += run_cpu(options, Path(folder), cores)
    print(f"{time.monotonic() - begun:.0f} s, {bad} bad runs")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
