"""Frames per second of the tracker on one core, beside the `trackers` package.

Both get the same seeded detections, at equal parameters, in turns; the best of the rounds counts,
since whatever else the machine does can only slow a round down. Building the reference's input
objects is not timed. Prints JSON.

Run from the repository root: PYTHONPATH=tests python benchmarks/tracking/bench_tracking.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carpool.vision.tracking import ByteTrack, ByteTrackParameters
from support.tracking_reference import as_detections, reference_tracker
from support.tracking_scenes import crowd, road

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCENES = {"road": road, "crowd": crowd}


def measure(kind: str, objects: int, frames: int, rounds: int) -> dict[str, Any]:
    """One scene: frames per second of both trackers."""
    detections = _SCENES[kind](objects, frames, objects).detections
    converted = [as_detections(rows) for rows in detections]
    parameters = ByteTrackParameters()
    ours, reference = [], []
    for _ in range(rounds):
        ours.append(_frames_per_second(ByteTrack(parameters).update, detections))
        reference.append(_frames_per_second(reference_tracker(parameters).update, converted))
    return {
        "scene": kind,
        "objects": objects,
        "rows_per_frame": round(sum(map(len, detections)) / frames, 1),
        "carpool_fps": round(max(ours)),
        "trackers_fps": round(max(reference)),
        "ratio": round(max(ours) / max(reference), 2),
    }


def _frames_per_second(update: Callable[[Any], Any], frames: Sequence[Any]) -> float:
    start = time.perf_counter()
    for frame in frames:
        update(frame)
    return len(frames) / (time.perf_counter() - start)


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "scipy", "trackers", "supervision")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 30])
    arguments = parser.parse_args()
    results = [
        measure(kind, objects, arguments.frames, arguments.rounds)
        for kind in _SCENES
        for objects in arguments.objects
    ]
    print(json.dumps({"machine": _machine(), "results": results}, indent=2))


if __name__ == "__main__":
    main()
