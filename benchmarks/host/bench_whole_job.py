"""A whole job as a fraction of the best plain decode + infer loop on the same cores.

The loop (see plain_loop) is tried with one process that computes on all cores, its decoder in line
or in a thread, and with a process a core, at four batch sizes. Then the three that were fastest in
these short trials and the job run in turns over all clips; the loop that is fastest there is the
denominator. The job is what a user runs: decode, detect, track, commit.

Steady state. Of the loop: from the first frame after model and warm-up to the last. Of the job: the
slope of frames committed over time, from the moment at which as many units are committed as tasks
run at once to the moment at which the first task finds no further unit. Start-up of JVM and model
and the end of the job are in neither; they are given as seconds.

Writes results/whole_job.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.host.bench_whole_job
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.host.hosts import ROOT
from benchmarks.host.real_data import real_file
from benchmarks.host.record import Record, spread
from benchmarks.host.watch import between, cpu, run_watched
from carpool.host.config import HostConfig
from carpool.host.process import child_environment
from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.folder import OutputFolder
from carpool.outputs.footers import table_files
from carpool.vision.darknet.resolve import complete_parameters
from support.local_runs import oracle_job, write_job

CORES = len(os.sched_getaffinity(0))
CHUNK_SECONDS = 5
FINALISTS = 3
GOAL = {"fraction": 0.85}


@dataclass(frozen=True, slots=True)
class Way:
    """How a plain loop uses the machine."""

    processes: int
    threads: int
    decoder: str
    batch: int


WAYS = tuple(
    Way(processes, CORES // processes, decoder, batch)
    for (processes, decoder), batch in product(
        ((1, "in line"), (1, "thread"), (CORES, "in line")), (1, 2, 4, 8)
    )
)


def run_loop(way: Way, clips: Sequence[Path], limit: int | None = None) -> dict[str, float]:
    """Frames per second of a plain loop, and its CPU milliseconds a frame.

    Args:
        way: how; several processes each take some of the clips.
        clips: at least one a process.
        limit: frames that each process stops after.
    """
    cfg = real_file("yolo-fastest-1.1-xl.cfg")
    options = asdict(way) | {
        "cfg": str(cfg),
        "parameters": dict(
            complete_parameters(cfg, real_file("coco.names"), {"resize": "Stretch"})
        ),
        "files": {"weights": str(real_file("yolo-fastest-1.1-xl.weights"))},
        "frames": limit,
    }
    # The loop gets the host's own tuning of threads and allocator: it makes loops faster too.
    config = HostConfig(handler="", threads=way.threads)
    environment = child_environment(os.environ, config)
    running = []
    for number in range(way.processes):
        share = {"clips": [str(clip) for clip in clips[number :: way.processes]]}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.host.plain_loop", json.dumps(options | share)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate()[0]) for process in running]
    cpu = sum(each["cpu_seconds"] for each in found)
    return {
        "frames_per_s": sum(each["frames"] / each["seconds"] for each in found),
        "cpu_ms_per_frame": 1e3 * cpu / sum(each["frames"] for each in found),
    }


def run_job(clips: Path, folder: Path) -> dict[str, Any]:
    """Run the job; its steady frames per second, CPU time a frame, and its seconds."""
    job = oracle_job(clips / "*.mp4", folder / "out")
    job["spec"] |= {
        "model": {
            "format": "Darknet",
            "uri": str(real_file("yolo-fastest-1.1-xl.cfg")),
            "parameters": {"names": "coco.names", "resize": "Stretch"},
        },
        "spark": {"executor": {"cores": CORES}},
    }
    job["spec"]["input"]["video"]["chunkSeconds"] = CHUNK_SECONDS
    file = write_job(folder / "job.yaml", job)
    result, seen = run_watched(file, cpu, 2.0)
    manifest = json.loads((folder / "out" / "_manifest.json").read_text())
    [host] = manifest["host"].values()
    steady = steady_rate(list(_commits(folder / "out")), CORES)
    busy = between(seen, steady["begin"], steady["end"])
    used = {kind: round(1e3 * each / steady["frames_per_s"], 3) for kind, each in busy.items()}
    return steady | {
        "cpu_ms_per_frame": used,
        "cores_busy": sum(busy.values()),
        "seconds": result["seconds"],
        "host": host,
    }


def _commits(output: Path) -> Iterator[tuple[float, int]]:
    """When each unit was committed, and its frames."""
    files = table_files(OutputFolder(str(output), StorageOptions()), "detections")
    for file in files.values():
        yield (output / file.path).stat().st_mtime_ns / 1e9, int(file.facts["frames"])


def steady_rate(commits: Sequence[tuple[float, int]], tasks: int) -> dict[str, float]:
    """Frames per second while all tasks had work, from when units were committed; see the module.

    Args:
        commits: (seconds, frames) of every unit.
        tasks: that ran at once.
    """
    moments, frames = np.array(sorted(commits)).T
    last = len(moments) - tasks + 1
    assert last - tasks >= 3, "too few units for a steady state"
    times = moments[tasks - 1 : last]
    done = np.cumsum(frames)[tasks - 1 : last]
    return {
        "frames_per_s": float(np.polyfit(times - times[0], done, 1)[0]),
        "begin": float(times[0]),
        "end": float(times[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--copies", type=int, default=2, help="of the clip, 38 s each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trial-frames", type=int, default=240, help="to find the loop's best way")
    options = parser.parse_args()
    clip = real_file("traffic.mp4")
    record = Record(
        "whole_job",
        "Frames per second of a whole job in steady state beside the best plain loop",
        {
            "network": "Yolo-Fastest-1.1-xl, 320 x 320",
            "clip": "traffic.mp4, 640 x 352, 24 frames/s, 905 frames",
            "copies": options.copies,
            "video_seconds": round(options.copies * 905 / 24, 1),
            "tasks": CORES,
            "chunk_seconds": CHUNK_SECONDS,
            "repeats": options.repeats,
            "trial_frames": options.trial_frames,
        },
    )
    with tempfile.TemporaryDirectory(prefix="cpb") as made:
        folder = Path(made)
        clips = folder / "clips"
        clips.mkdir()
        for number in range(options.copies):
            shutil.copy2(clip, clips / f"traffic-{number}.mp4")
        paths = sorted(clips.glob("*.mp4"))
        trials = []
        for way in WAYS:
            trials.append(asdict(way) | run_loop(way, paths, options.trial_frames))
            print(trials[-1], flush=True)
        order = sorted(range(len(WAYS)), key=lambda index: -float(trials[index]["frames_per_s"]))
        finalists: dict[Way, list[dict[str, float]]] = {
            WAYS[index]: [] for index in order[:FINALISTS]
        }
        jobs = []
        for number in range(options.repeats):
            for way, runs in finalists.items():
                runs.append(run_loop(way, paths))
            run = folder / f"job-{number}"
            run.mkdir()
            jobs.append(run_job(clips, run))
            print({way: runs[-1] for way, runs in finalists.items()}, jobs[-1], flush=True)
    way, loops = max(
        finalists.items(), key=lambda one: float(np.median([run["frames_per_s"] for run in one[1]]))
    )
    pairs = list(zip(jobs, loops, strict=True))
    job_cpu = [sum(job["cpu_ms_per_frame"].values()) for job in jobs]
    loop_cpu = [loop["cpu_ms_per_frame"] for loop in loops]
    record.write(
        trials=trials,
        loop={
            "way": asdict(way),
            "frames_per_s": spread([loop["frames_per_s"] for loop in loops], 2),
            "cpu_ms_per_frame": spread(loop_cpu, 3),
        },
        job={
            "frames_per_s": spread([job["frames_per_s"] for job in jobs], 2),
            "cpu_ms_per_frame": spread(job_cpu, 3),
            "cpu_ms_per_frame_by_kind": {
                kind: spread([job["cpu_ms_per_frame"][kind] for job in jobs], 3)
                for kind in jobs[0]["cpu_ms_per_frame"]
            },
            "cores_busy": spread([job["cores_busy"] for job in jobs], 3),
            "steady_seconds": spread([job["end"] - job["begin"] for job in jobs], 2),
            "seconds": spread([job["seconds"] for job in jobs], 2),
            "host": jobs[-1]["host"],
        },
        fraction=spread([job["frames_per_s"] / loop["frames_per_s"] for job, loop in pairs]),
        cpu_fraction=spread([loop / job for job, loop in zip(job_cpu, loop_cpu, strict=True)]),
        goal=GOAL,
    )


if __name__ == "__main__":
    main()
