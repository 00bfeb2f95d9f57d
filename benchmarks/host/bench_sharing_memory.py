"""Memory of four tasks with one model for all, and with one for each.

The same job, run Shared and PerTask: YOLO-v3 at 416 x 416 with random values (62 million float32,
248 MB) on every 24th frame of a rendered clip. Counted is the proportional set size of hosts and
Spark workers: a page that k processes share counts 1/k to each. JVM and driver are the same in both
and stay out of it. Looked at twice a second, from when all tasks' workers are there and all hosts
hold the model; median and highest are given.

Writes results/sharing_memory.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.host.bench_sharing_memory
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.host.process_memory import pss_mib
from benchmarks.host.record import Record, spread
from benchmarks.host.watch import run_watched
from carpool.synth.render import render_video
from carpool.synth.settings import SceneSettings
from carpool.vision.darknet.cfg import read_network
from carpool.vision.darknet.random_weights import random_weights
from carpool.vision.darknet.weights import write_weights
from support.darknet_cfgs import yolov3_cfg
from support.local_runs import oracle_job, write_job

TASKS = 4
SIZE = 416
EVERY_NTH = 24
FRAMES = 24 * 24
GOAL = {"fraction": 0.4}
_MODEL_MIB = 150.0
"""A host that has the model has more memory than this, one that has not has less."""


def write_model(folder: Path) -> Path:
    """YOLO-v3 with random values; its .cfg."""
    cfg = folder / "yolov3.cfg"
    cfg.write_text(yolov3_cfg(SIZE, SIZE, 80))
    write_weights(folder / "yolov3.weights", random_weights(read_network(cfg, (SIZE, SIZE)), 0))
    (folder / "yolov3.names").write_text("\n".join(f"class {number}" for number in range(80)))
    return cfg


def run(sharing: str, cfg: Path, clips: Path, folder: Path) -> dict[str, Any]:
    """Run the job; memory by kind of process."""
    job = oracle_job(clips / "*.mp4", folder / "out", sharing=sharing)
    del job["spec"]["tracking"]
    job["spec"] |= {
        "model": {"format": "Darknet", "uri": str(cfg)},
        "spark": {"executor": {"cores": TASKS}},
    }
    job["spec"]["input"]["video"] = {"chunkSeconds": 1, "everyNthFrame": EVERY_NTH}
    file = write_job(folder / "job.yaml", job)
    result, seen = run_watched(file, pss_mib, 0.5)
    copies = result["modelCopies"]
    # Hosts and workers that are all there, and hosts that all hold the model.
    steady = [
        costs
        for _, costs, counts in seen
        if counts["workers"] > TASKS and costs["host"] > copies * _MODEL_MIB
    ]
    assert steady, "the job ended before all tasks had begun"
    total = [costs["host"] + costs["workers"] for costs in steady]
    return {
        "sharing": sharing,
        "model_copies": copies,
        "hosts_mib": spread([costs["host"] for costs in steady], 1),
        "workers_mib": spread([costs["workers"] for costs in steady], 1),
        "total_mib": spread(total, 1),
        "seconds": result["seconds"],
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    record = Record(
        "sharing_memory",
        "MiB of proportional set size, hosts and Spark workers together, by sharing",
        {
            "model": f"YOLO-v3, random values, {SIZE} x {SIZE}, float32",
            "tasks": TASKS,
            "every_nth_frame": EVERY_NTH,
            "frames": FRAMES // EVERY_NTH,
        },
    )
    with tempfile.TemporaryDirectory(prefix="cpb") as made:
        folder = Path(made)
        cfg = write_model(folder)
        clips = folder / "clips"
        render_video(SceneSettings(seed=1, frames=FRAMES), clips, "clip")
        rows = []
        for sharing in ("Shared", "PerTask"):
            place = folder / sharing
            place.mkdir()
            rows.append(run(sharing, cfg, clips, place))
            print(json.dumps(rows[-1]), flush=True)
    shared, per_task = (row["total_mib"] for row in rows)
    fraction = {name: round(shared[name] / per_task[name], 4) for name in ("median", "max")}
    record.write(rows=rows, fraction=fraction, goal=GOAL)
    print(fraction)


if __name__ == "__main__":
    main()
