"""Which frames a video has, when each is shown, and where it can be cut, without decoding it.

The packets of the file are read as they are stored. Sorted by their timestamps they are the frames
in the order of presentation, because every packet gives one frame and frames carry the timestamps
of their packets. Where that cannot be relied on, the index says so (`timed`, `cuttable`), and the
file is read in one piece. What must stay true: the index never promises less than the file claims
to hold; packets that are damaged, or missing at a truncated end, are counted in `broken`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carpool.errors import InputUnavailable, Undecodable
from carpool.inputs.capture import Capture
from carpool.inputs.container import Container, inspect

# After this many failures in a row there is no use in going on; at the end of a file it costs
# a millisecond.
MAX_FAILURES = 300
# B-frames move a packet by at most 16 places; more means that the clock of the stream jumped.
_MAX_REORDER = 64
_HEAD_FRAMES = 3


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """The frames of a video, in the order of presentation.

    Attributes:
        pts_ns: int64 [frames], presentation time of each, ns from the stream's start, ascending;
            frame number divided by `fps` where the stream has no usable times.
        keyframes: int64, ascending indices of frames at which decoding can start.
        broken: int64, ascending; for each frame that the file claims to hold and whose packet is
            damaged or missing, the index of the good frame behind which it is missing.
        width: pixels of a decoded frame, after rotation by the metadata.
        height: pixels of a decoded frame.
        fps: frames per second that the container declares.
        declared: frames by the header or by duration times rate (an estimate); 0 = not known.
        timed: frames can be told by their timestamps; otherwise only by counting from the start.
        cuttable: decoding can start at each of `keyframes`.
    """

    pts_ns: NDArray[np.int64]
    keyframes: NDArray[np.int64]
    broken: NDArray[np.int64]
    width: int
    height: int
    fps: float
    declared: int
    timed: bool
    cuttable: bool

    @property
    def frames(self) -> int:
        """Frames that can be expected to decode."""
        return len(self.pts_ns)

    @property
    def looks_complete(self) -> bool:
        """Nothing hints at packets that were lost while reading."""
        return not len(self.broken) and self.frames >= self.declared - 1


@dataclass(frozen=True, slots=True)
class _Packets:
    """Packets in storage order: times, key flags, and the positions of damaged ones."""

    pts_ns: NDArray[np.int64]
    key: NDArray[np.bool_]
    damaged: list[int]
    fps: float
    declared: int
    codec: str


@dataclass(frozen=True, slots=True)
class _Head:
    """The first frames of a file, decoded."""

    pts_ns: list[int]
    width: int
    height: int


def index_video(path: Path, name: str | None = None) -> VideoIndex:
    """Index a local video file by its packets.

    Only the first frames are decoded, to check that frames carry the times of their packets; files
    whose edit list hides frames are decoded once, since packets do not tell which are hidden.

    Args:
        path: a local file.
        name: how messages call the file; its path by default.

    Raises:
        Undecodable: not a video, no video stream, or no frame can be decoded; the message says
            what was found instead.
        InputUnavailable: the file cannot be opened.
    """
    name = name or str(path)
    try:
        container = inspect(path)
    except OSError as error:
        raise InputUnavailable(f"{name}: cannot be read now: {error}") from error
    _refuse(container, name)
    try:
        packets = _read_packets(path, name)
    except Undecodable as error:
        raise Undecodable(f"{name}: {_why_not_opened(container)}") from error
    if not len(packets.pts_ns):
        raise Undecodable(f"{name}: its video stream ({packets.codec}) holds no readable packet")
    head = _decode_head(path, name)
    if head is None:
        expected = max(len(packets.pts_ns), container.samples)
        raise Undecodable(
            f"{name}: none of its {expected} frames can be decoded (codec {packets.codec}); "
            "convert it to H.264, H.265, VP9 or MPEG-4",
            0,
            expected,
        )
    if container.hides_frames:
        return _index_shown(path, name, packets, head)
    return _index_packets(packets, container, head)


def _index_packets(packets: _Packets, container: Container, head: _Head) -> VideoIndex:
    stored, key, damaged = packets.pts_ns, packets.key, packets.damaged
    missing = _promised(container, packets) - len(stored) - len(damaged)
    if missing > 0 and container.truncated and container.kind != "matroska" and len(stored) > 1:
        # The last packet before the cut is incomplete; the Matroska reader drops it by itself.
        stored, key, missing = stored[:-1], key[:-1], missing + 1
    order = np.argsort(stored, kind="stable")
    pts_ns = stored[order]
    timed = _is_usable(pts_ns, order) and _frames_carry_packet_times(head, pts_ns, container)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    latest = np.maximum.accumulate(rank)
    behind = [int(latest[max(at, 1) - 1]) for at in damaged if at <= len(latest)]
    broken = np.array(behind + [len(pts_ns) - 1] * max(missing, 0), np.int64)
    keyframes = np.flatnonzero(key[order]).astype(np.int64)
    if not timed:
        pts_ns = np.rint(np.arange(len(pts_ns)) * (1e9 / packets.fps)).astype(np.int64)
        keyframes = np.zeros(1, np.int64)
    cuttable = timed and _can_seek(pts_ns, keyframes, packets)
    return VideoIndex(
        pts_ns,
        keyframes,
        broken,
        head.width,
        head.height,
        packets.fps,
        packets.declared,
        timed,
        cuttable,
    )


def _index_shown(path: Path, name: str, packets: _Packets, head: _Head) -> VideoIndex:
    """Index by decoding: the frames that an edit list shows, one piece."""
    times: list[int] = []
    failures = 0
    with Capture(path, name=name) as capture:
        while failures < MAX_FAILURES:
            if capture.grab():
                times.append(capture.pts_ns())
                failures = 0
            else:
                failures += 1
    timed = all(before < after for before, after in pairwise(times))
    pts_ns = np.array(times, np.int64)
    if not timed:
        pts_ns = np.rint(np.arange(len(times)) * (1e9 / packets.fps)).astype(np.int64)
    none = np.zeros(0, np.int64)
    start = np.zeros(1, np.int64)
    return VideoIndex(
        pts_ns, start, none, head.width, head.height, packets.fps, len(times), timed, cuttable=False
    )


def _read_packets(path: Path, name: str) -> _Packets:
    times: list[int] = []
    key: list[bool] = []
    damaged: list[int] = []
    failures = 0
    with Capture(path, packets=True, name=name) as capture:
        while failures < MAX_FAILURES:
            if capture.grab():
                # Failures at the very end are the end itself; those in between are packets.
                damaged += [len(times)] * failures
                failures = 0
                times.append(capture.pts_ns())
                key.append(capture.is_keyframe())
            else:
                failures += 1
        return _Packets(
            np.array(times, np.int64),
            np.array(key, np.bool_),
            damaged,
            capture.fps,
            capture.declared_frames,
            capture.codec,
        )


def _decode_head(path: Path, name: str) -> _Head | None:
    times: list[int] = []
    shape = (0, 0)
    failures = 0
    with Capture(path, name=name) as capture:
        while len(times) < _HEAD_FRAMES and failures < MAX_FAILURES:
            if not capture.grab():
                failures += 1
                continue
            if not times:
                image = capture.image()
                if image is None:
                    return None
                shape = image.shape[:2]
            times.append(capture.pts_ns())
            failures = 0
    return _Head(times, width=shape[1], height=shape[0]) if times else None


def _promised(container: Container, packets: _Packets) -> int:
    """Frames that the file claims to hold; 0 where it makes no claim that can be relied on."""
    if container.samples:
        return container.samples
    # Other headers hold estimates: they are believed only where bytes are known to be missing.
    return packets.declared if container.truncated else 0


def _is_usable(pts_ns: NDArray[np.int64], order: NDArray[np.intp]) -> bool:
    """Times are all different, and no farther from the storage order than B-frames move them."""
    distinct = bool((np.diff(pts_ns) > 0).all())
    displaced = int(np.abs(order - np.arange(len(order))).max())
    return distinct and displaced <= _MAX_REORDER


def _frames_carry_packet_times(
    head: _Head, pts_ns: NDArray[np.int64], container: Container
) -> bool:
    if container.kind == "riff":
        # AVI stores the times of decoding: with B-frames all are there, but at the wrong frames.
        first: list[int] = pts_ns[: len(head.pts_ns)].tolist()
        return head.pts_ns == first
    known = set(pts_ns.tolist())
    ascending = all(before < after for before, after in pairwise(head.pts_ns))
    return ascending and known.issuperset(head.pts_ns)


def _can_seek(pts_ns: NDArray[np.int64], keyframes: NDArray[np.int64], packets: _Packets) -> bool:
    """Whether OpenCV reads to the end of the file after a seek.

    It counts frames by time and average rate after a seek and stops where the count exceeds the
    header's. With a rate that rises within the file that comes early: a second of frames early
    would only cost the last unit a second try from the start, more would cost several units.
    """
    if not packets.declared:
        return True
    counted = pts_ns[keyframes] / 1e9 * packets.fps + (len(pts_ns) - keyframes)
    latest = float(counted.max(initial=0.0))
    return latest <= packets.declared + packets.fps


def _refuse(container: Container, name: str) -> None:
    """Refuse what FFmpeg would open though it is no video file.

    Raises:
        Undecodable: an empty file, a playlist, or text.
    """
    if container.size == 0:
        raise Undecodable(f"{name}: is empty (0 bytes)")
    if container.kind == "playlist":
        raise Undecodable(f"{name}: is a playlist, not a video; name the files it lists instead")
    if container.kind == "text":
        raise Undecodable(f"{name}: is a text file, not a video (starts {container.start[:16]!r})")


def _why_not_opened(container: Container) -> str:
    if container.truncated:
        return (
            f"is truncated: {container.size} of {container.declared_size} bytes are there, and "
            "the index at its end is missing; copy it again"
        )
    if container.kind == "other":
        return f"is not a video file that can be read (starts {container.start[:16]!r})"
    return "holds no video stream that can be decoded"
