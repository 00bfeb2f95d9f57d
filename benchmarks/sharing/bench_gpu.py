"""What sharing one model buys on a GPU: all arms, tasks, chunks and budgets.

Needs no Spark and no Java: tasks are processes, with Carpool's own client. The sweep is long, so a
command measures for some minutes at most and the next one goes on where it ended: the record holds
each run as soon as it is made. Each cell is measured once before any is measured twice, in random
order. What is to be measured first can be chosen: by arms, networks, tasks, chunks and budgets.
Arms with one copy of the model need not be measured with every budget: the page takes the figure
with the largest budget below, which is no better for them.

Writes results/gpu.json, or gpu.json in the folder that --results names: on a machine that is lent
for some minutes, a folder that outlives it, with the record of the last time in it.

Run from the repository's root: PYTHONPATH=job/src:tests python -m benchmarks.sharing.bench_gpu
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.cells import ARMS, IDEAS, Cell, grid
from benchmarks.sharing.clip import render_clip
from benchmarks.sharing.record import RESULTS, SweepRecord
from benchmarks.sharing.starting import Settings
from benchmarks.sharing.sweep import Sweep, settings_by_network
from benchmarks.sharing.workloads import Target, Workload, heavy, light, yolov3

QUESTION = (
    "Items per second on a GPU by network, arm, tasks, chunk and budget, with CPU time, memory and "
    "latency"
)
TASKS = (1, 2, 4, 8, 16)
CHUNKS = (1, 8, 32)
BUDGETS = (8.0, 16.0, 80.0)
"""GiB; the last is all that an H100 has."""
FEW_BUDGETS = (80.0,)
HEAVY_BUDGETS = (16.0, 80.0)
SIZE = 416
SCORE = 0.5
"""That boxes of YOLO-v3 must exceed. With its random values, 35 to 104 boxes of a frame do, in the
64 frames of the pool (float32 on a CPU). With the detector's own 0.25 it is 246 to 386: 61 frames
then have more than the 256 that `predict_fixed` takes, and every batch is computed twice."""
TASK_ITEMS = 1536
"""Of a task of arm (a): a minute of video at 25 frames a second, in whole chunks."""


def cells(options: argparse.Namespace) -> list[Cell]:
    """The whole grid, less what was not chosen."""
    budgets = {"yolov3": BUDGETS, "light": FEW_BUDGETS, "heavy": HEAVY_BUDGETS}
    found: list[Cell] = []
    for network in options.networks:
        of_network = [budget for budget in budgets[network] if budget in options.budgets]
        found += grid(
            network,
            arms=options.arms,
            tasks=options.tasks,
            chunks=options.chunks,
            budgets=of_network,
        )
        if "d" in options.arms and of_network:
            most, chunk = max(options.tasks), sorted(options.chunks)[len(options.chunks) // 2]
            found += [
                Cell(network, "d", most, chunk, max(of_network), idea)
                for idea in options.without
                if idea != "uint8" or network != "heavy"
            ]
    return found


def workloads(options: argparse.Namespace, folder: Path) -> dict[str, Workload]:
    """The networks that were chosen."""
    makers = {
        "yolov3": lambda: yolov3(folder, options.size, SCORE),
        "light": lambda: light(folder, options.size),
        "heavy": lambda: heavy(options.size, options.width, options.layers, 2),
    }
    return {name: makers[name]() for name in options.networks}


def manners(largest: int, *, cuda: bool) -> Sequence[Manner]:
    """What loops try: batches up to the largest, one and two lanes, recorded or not."""
    sizes = [size for size in (4, 8, 16, 32, 64) if size <= largest]
    recorded = (True, False) if cuda else (False,)
    return [
        Manner(size, lanes, record) for record in recorded for lanes in (1, 2) for size in sizes
    ]


def device_name(device: str) -> str:
    """The card's name, told by another process: this one must not have torch, since it forks."""
    if not device.startswith("cuda"):
        return device
    question = f"import torch; print(torch.cuda.get_device_name({device!r}))"
    asked = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        last = asked.stderr.strip().rpartition("\n")[2]
        sys.exit(f"{device} cannot be used: {last}; --device cpu tries the program out")
    return asked.stdout.strip()


def arguments() -> argparse.ArgumentParser:
    """All that may be chosen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="nothing begins that is expected to end later; the first run of an arm is guessed at",
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="measured in a run of a cell")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument(
        "--networks", nargs="+", choices=("yolov3", "light", "heavy"), default=["yolov3"]
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=list(TASKS))
    parser.add_argument("--chunks", type=int, nargs="+", default=list(CHUNKS))
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS), help="GiB")
    parser.add_argument("--without", nargs="*", choices=IDEAS, default=list(IDEAS))
    parser.add_argument("--task-items", type=int, default=TASK_ITEMS, help="of a task of arm (a)")
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder of the record, gpu.json: what is in it is gone on with, and it is written "
        "there after each run; plots and page are made of the one in benchmarks/sharing/results",
    )
    parser.add_argument("--device", default="cuda:0", help="cpu tries the program out")
    parser.add_argument("--size", type=int, default=SIZE, help="of frames")
    parser.add_argument("--width", type=int, default=4096, help="of the heavy model's layers")
    parser.add_argument("--layers", type=int, default=160, help="of the heavy model")
    parser.add_argument("--largest", type=int, default=64, help="batch of servers and loops")
    parser.add_argument("--list", action="store_true", help="say what is missing, measure nothing")
    return parser


def main() -> None:
    options = arguments().parse_args()
    until = time.monotonic() + 60 * options.minutes
    chosen = cells(options)
    cuda = options.device.startswith("cuda")
    with tempfile.TemporaryDirectory(prefix="cps") as made:
        folder = Path(made)
        common = Settings(
            target=Target("cuda" if cuda else "cpu", options.device, len(os.sched_getaffinity(0))),
            seconds=options.seconds,
            task_items=options.task_items,
            largest=options.largest,
            manners=manners(options.largest, cuda=cuda),
            trial_seconds=0.5,
            host_options={},
            clip=render_clip(folder) if "e2" in options.arms else None,
        )
        record = SweepRecord(
            options.results / "gpu.json",
            device_name(options.device),
            QUESTION,
            {"seconds": options.seconds, "task_items": options.task_items},
        )
        if options.list:
            done = record.done()
            left = [(c, r) for c in chosen for r in range(options.repeats) if (c, r) not in done]
            print(*sorted({cell.label for cell, _ in left}), f"{len(left)} runs", sep="\n")
            return
        networks = workloads(options, folder)
        sweep = Sweep(record, settings_by_network(common, {}, options.networks), networks)
        left_over = sweep.run(chosen, options.repeats, until)
    print(f"{left_over} runs are missing, {sweep.bad} were bad")
    sys.exit(bool(sweep.bad))


if __name__ == "__main__":
    main()
