"""The real street clip beside the checkout, and what a real network detects in it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from carpool.vision.darknet.handler import DarknetDetector
from carpool.vision.darknet.resolve import complete_parameters
from carpool.vision.handler import LoadContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FRAME_RATE = 24.0

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
_BATCH = 16


def real_file(name: str) -> Path:
    """A file of the data; skips the test where it is absent."""
    path = _DATA / name
    if not path.exists():
        pytest.skip(f"the real data is absent: {path}")
    return path


@cache
def real_detections(every: int) -> list[NDArray[np.float32]]:
    """Rows [k, 6] of every nth frame of 905, by our Darknet handler; imports torch, takes long."""
    import torch

    cfg = real_file("yolo-fastest-1.1-xl.cfg")
    detector = DarknetDetector(complete_parameters(cfg, real_file("coco.names"), {}))
    detector.load(
        LoadContext(
            device="cpu",
            precision="Float32",
            model_path=cfg,
            max_batch=_BATCH,
            files={"weights": real_file("yolo-fastest-1.1-xl.weights")},
        )
    )
    found: list[NDArray[np.float32]] = []
    for frames in _batches(real_file("traffic.mp4"), every):
        items = np.empty((len(frames), *detector.input_shape), dtype=np.uint8)
        placements = [
            detector.preprocess(frame, item) for frame, item in zip(frames, items, strict=True)
        ]
        for rows, placement in zip(
            detector.predict(torch.from_numpy(items)), placements, strict=True
        ):
            found.append(detector.postprocess(rows.numpy(), placement))
    return found


@cache
def reference_detections() -> list[NDArray[np.float32]]:
    """Rows [k, 6] of every tenth frame, computed once with OpenCV's own Darknet reader."""
    table = json.loads(real_file("traffic.opencv-dnn.json").read_text())
    return [
        np.array(
            [(x, y, x + w, y + h, score, kind) for kind, score, (x, y, w, h) in table[frame]],
            dtype=np.float32,
        ).reshape(-1, 6)
        for frame in sorted(table, key=int)
    ]


def _batches(clip: Path, every: int) -> Iterator[list[NDArray[np.uint8]]]:
    video = cv2.VideoCapture(str(clip))
    frames: list[NDArray[np.uint8]] = []
    number = 0
    while video.grab():
        if number % every == 0:
            _, frame = video.retrieve()
            frames.append(frame.astype(np.uint8, copy=False))
        if len(frames) == _BATCH:
            yield frames
            frames = []
        number += 1
    video.release()
    if frames:
        yield frames


def excerpt(clip: Path, target: Path, seconds: float) -> Path:
    """The first seconds of a clip, packet for packet as they are."""
    import av

    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        stream = source.streams.video[0]
        copy = sink.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.dts * stream.time_base >= seconds:
                break
            packet.stream = copy
            sink.mux(packet)
    return target
