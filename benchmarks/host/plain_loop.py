"""A plain decode + infer loop in one process: what a job is compared with.

The same network, resizing and boxes as in a job, with nothing in between: no Spark, no host, no
sockets, no files written. It loads and warms up, says that it is ready, waits for a line on
standard input, runs over its clips and prints frames and seconds as JSON. Where `decoder` is
"thread", frames are decoded and resized ahead in a thread beside the one that infers.

Started by bench_whole_job.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Any

import cv2
import numpy as np
import torch

from carpool.vision.darknet.handler import DarknetDetector
from carpool.vision.handler import LoadContext

_Batch = tuple[np.ndarray[Any, Any], list[Any]]
_AHEAD = 3
"""Batches that a decoding thread may be ahead."""


def main(options: dict[str, Any]) -> None:
    torch.set_num_threads(options["threads"])
    cv2.setNumThreads(1)
    detector = DarknetDetector(options["parameters"])
    files = {role: Path(path) for role, path in options["files"].items()}
    detector.load(LoadContext("cpu", "Auto", Path(options["cfg"]), options["batch"], files))
    grey = np.full((options["batch"], *detector.input_shape), 128, np.uint8)
    with torch.inference_mode():
        for _ in range(3):
            detector.predict(torch.from_numpy(grey))
        print("ready", flush=True)
        sys.stdin.readline()
        begun, used = time.perf_counter(), time.process_time()
        frames = boxes = 0
        batches = _batches(detector, options["clips"], options["batch"], options["frames"])
        for items, placements in _ahead(batches) if options["decoder"] == "thread" else batches:
            found = detector.predict(torch.from_numpy(items[: len(placements)]))
            for rows, placement in zip(found, placements, strict=True):
                boxes += len(detector.postprocess(rows.numpy(), placement))
            frames += len(placements)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - used
    result = {"frames": frames, "seconds": seconds, "cpu_seconds": cpu_seconds, "boxes": boxes}
    print(json.dumps(result), flush=True)


def _batches(
    detector: DarknetDetector, clips: list[str], size: int, limit: int | None
) -> Iterator[_Batch]:
    frames = islice(_frames(clips), limit)
    while chunk := list(islice(frames, size)):
        # A new array each time: a decoding thread fills the next while this one is inferred.
        items = np.empty((size, *detector.input_shape), np.uint8)
        yield items, [detector.preprocess(frame, items[at]) for at, frame in enumerate(chunk)]


def _frames(clips: list[str]) -> Iterator[np.ndarray[Any, Any]]:
    for clip in clips:
        video = cv2.VideoCapture(clip)
        while True:
            given, frame = video.read()
            if not given:
                break
            yield frame
        video.release()


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    queue: Queue[_Batch | None] = Queue(_AHEAD)

    def fill() -> None:
        for batch in batches:
            queue.put(batch)
        queue.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (batch := queue.get()) is not None:
        yield batch


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
