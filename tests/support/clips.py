"""Small video files whose frames carry their own number, healthy and damaged in known ways.

The number is painted as twelve big black or white blocks, so that it survives any codec: what a
frame shows is compared with what it is said to be.
"""

from __future__ import annotations

import random
import struct
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from carpool.errors import FramesMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from carpool.inputs.video_decode import Frame

WIDTH, HEIGHT, FPS = 320, 192, 25.0
FRAME_NS = 40_000_000
_BLOCK = 24
_BITS = 12


def painted_frame(index: int) -> NDArray[np.uint8]:
    """A frame that shows its number and a moving box; uint8 [192, 320, 3]."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    left = index * 5 % (WIDTH - 40)
    image[80:120, left : left + 40] = (200, 60, 30)
    for bit in range(_BITS):
        start = 8 + bit * _BLOCK
        image[8 : 8 + _BLOCK, start : start + _BLOCK] = 255 if index >> bit & 1 else 0
    return image


def shown_number(image: NDArray[np.uint8]) -> int:
    """The number that a decoded frame shows."""
    row = 8 + _BLOCK // 2
    return sum(
        1 << bit
        for bit in range(_BITS)
        if image[row - 4 : row + 4, 16 + bit * _BLOCK : 24 + bit * _BLOCK].mean() > 128
    )


def write_clip(path: Path, frames: int = 60, codec: str = "mp4v") -> Path:
    """Write a clip of 25 frames per second, a keyframe every twelve; the suffix says which format.

    Codecs of the OpenCV wheel: mp4v (no B-frames), mpg2 (B-frames), VP80, VP90, MJPG, FFV1.
    """
    code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]  # missing in the stubs
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, FPS, (WIDTH, HEIGHT))
    assert writer.isOpened(), f"this OpenCV cannot write {codec} into {path.suffix}"
    for index in range(frames):
        writer.write(painted_frame(index))
    writer.release()
    return path


def damage(path: Path, at: float = 0.5, count: int = 1500) -> Path:
    """Overwrite `count` bytes with noise, from the fraction `at` of the file on."""
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    content[start : start + count] = random.Random(3).randbytes(count)
    path.write_bytes(content)
    return path


def truncate(path: Path, keep: float = 0.6) -> Path:
    """Cut the end of the file off."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def index_first(path: Path) -> Path:
    """Move the index of an MP4 file to its front, as web servers like it."""
    content = path.read_bytes()
    boxes = dict(_boxes(content))
    moov = bytearray(boxes[b"moov"])
    at = moov.find(b"stco")
    for entry in range(struct.unpack_from(">I", moov, at + 8)[0]):
        place = at + 12 + 4 * entry
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
    rest = b"".join(box for name, box in boxes.items() if name not in {b"ftyp", b"moov"})
    path.write_bytes(boxes[b"ftyp"] + bytes(moov) + rest)
    return path


def hide_frames(path: Path, before: int, behind: int) -> Path:
    """Trim a clip as a phone does: by an edit list that hides frames at its start and its end."""
    content = bytearray(path.read_bytes())
    at = content.find(b"elst") + 12
    length, media_time = struct.unpack_from(">Ii", content, at)
    scale = struct.unpack_from(">I", content, content.find(b"mdhd") + 16)[0]
    struct.pack_into(
        ">Ii",
        content,
        at,
        length - (before + behind) * 1000 // int(FPS),
        media_time + before * scale // int(FPS),
    )
    path.write_bytes(content)
    return path


def sequential(path: Path) -> list[tuple[int, str]]:
    """(pts in ns, hash of the image) of each frame, by reading from the start to the end."""
    frames = []
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    while capture.grab():
        _, image = capture.retrieve()
        pts_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        frames.append((pts_ns, image_hash(image)))
    capture.release()
    return frames


def collect(decoded: Iterable[Frame]) -> tuple[list[Frame], FramesMissing | None]:
    """All frames that are given, and the error that comes behind them, if any."""
    given: list[Frame] = []
    try:
        given.extend(decoded)
    except FramesMissing as error:
        return given, error
    return given, None


def image_hash(image: NDArray[Any]) -> str:
    return sha256(image.tobytes()).hexdigest()


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        yield name, content[at : at + length]
        at += length
