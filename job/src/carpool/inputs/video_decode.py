"""Exactly the frames of a range, each known by its index, however the decoder behaves.

OpenCV's seek lands early, late, or not at all, depending on the file; a clean end of reading proves
nothing; damaged packets are skipped silently. So nothing here trusts a position: frames are told
by their timestamps, which are compared with the index, and a range is complete only when each of
its frames was seen. Seeking is a matter of speed alone: where it does not lead to the range,
decoding starts from the beginning of the file.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carpool.errors import FramesMissing
from carpool.inputs.capture import Capture
from carpool.inputs.video_index import MAX_FAILURES

# How far before the range to seek, ns: half a second is enough for MP4 and Matroska whatever their
# frame rate; MPEG-TS needs more now and then.
_SEEK_MARGINS_NS = (500_000_000, 2_000_000_000, 8_000_000_000)


@dataclass(frozen=True, slots=True, eq=False)
class FrameRange:
    """Consecutive frames of one video.

    Attributes:
        first: index of the first frame within the video.
        pts_ns: int64 [frames], ascending; presentation time of each, ns from the stream's start.
        broken: further frames that the file claims to hold here and whose packets are damaged or
            missing; they have no index.
        timed: frames are told by `pts_ns`; otherwise by counting from the start of the file
            (then `first` is 0 and `pts_ns` is nominal).
    """

    first: int
    pts_ns: NDArray[np.int64]
    broken: int = 0
    timed: bool = True

    def __len__(self) -> int:
        return len(self.pts_ns)

    @property
    def stop(self) -> int:
        """Index behind the last frame."""
        return self.first + len(self.pts_ns)

    def expected(self, every_nth: int) -> int:
        """Frames to be given: those whose index is a multiple of `every_nth`, and broken ones."""
        return wanted(self.first, self.stop, every_nth) + math.ceil(self.broken / every_nth)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        index: number within the video, in the order of presentation.
        pts_ns: presentation time, ns from the stream's start.
        image: uint8 [H, W, 3], BGR; the receiver may keep it.
    """

    index: int
    pts_ns: int
    image: NDArray[np.uint8]


def wanted(first: int, stop: int, every_nth: int) -> int:
    """How many indices in [first, stop) are multiples of `every_nth`."""
    return max(0, -(-stop // every_nth) + (-first // every_nth))


@dataclass(slots=True)
class _Progress:
    """How far the range has been decoded, over one or more passes.

    Attributes:
        next: offset within the range of the next frame to give.
        given: frames given, those before the start of this call included.
        strays: frames of the last pass, within the range's time, that came twice or that the index
            does not know.
        ended: the last pass came to the end of the range, or stopped at a gap: no pass from the
            start of the file would find more.
    """

    next: int
    given: int
    strays: int = 0
    ended: bool = False


def decode_frames(
    path: Path,
    frames: FrameRange,
    every_nth: int = 1,
    *,
    name: str | None = None,
    start: int | None = None,
    seek: bool = True,
    stop_at_gap: bool = False,
) -> Generator[Frame]:
    """Decode the frames of a range whose index is a multiple of `every_nth`, in order.

    The file is closed when the iterator ends or is closed.

    Args:
        path: a local file.
        frames: the range, cut from the file's index: it starts with a keyframe.
        every_nth: give only frames whose index within the video is a multiple of this; the others
            are decoded, because later ones depend on them, but not converted.
        name: how messages call the file; its path by default.
        start: begin with this frame of the range; those before count as given already.
        seek: go to the range by seeking; False decodes the file from its beginning.
        stop_at_gap: raise at the first frame that is missing instead of giving those behind it.

    Yields:
        Frames in ascending order of their index, each at most once.

    Raises:
        FramesMissing: after all good frames were given (or at the gap): frames are missing, or the
            decoder gave frames that the index does not know.
        Undecodable: the file cannot be opened.
    """
    begin = frames.first if start is None else start
    progress = _Progress(begin - frames.first, wanted(frames.first, begin, every_nth))
    decode = _by_time if frames.timed else _by_count
    if seek and frames.timed and frames.first > 0:
        with Capture(path, name=name) as capture:
            # Not to `begin`: only the range's first frame is sure to need none before it.
            if _land(capture, int(frames.pts_ns[0])):
                yield from decode(capture, frames, every_nth, progress, stop_at_gap=stop_at_gap)
    # It ended before the range did: the seek may be to blame, so read from the file's start.
    if not progress.ended:
        with Capture(path, name=name) as capture:
            yield from decode(capture, frames, every_nth, progress, stop_at_gap=stop_at_gap)
    expected = frames.expected(every_nth)
    if progress.given < expected or progress.strays:
        raise _missing(name or str(path), frames, progress, expected)


def _land(capture: Capture, pts_ns: int) -> bool:
    """Seek to a place from which reading on leads to a frame; False where there is none."""
    for margin in _SEEK_MARGINS_NS:
        if pts_ns <= margin:
            return False
        capture.seek(pts_ns - margin)
        # The frame grabbed here is spent: it must lie before the one that is sought.
        if capture.grab() and capture.pts_ns() < pts_ns:
            return True
    return False


def _by_time(
    capture: Capture,
    frames: FrameRange,
    every_nth: int,
    progress: _Progress,
    *,
    stop_at_gap: bool,
) -> Generator[Frame]:
    """One pass that tells frames by their timestamps."""
    times: list[int] = frames.pts_ns.tolist()
    progress.strays = 0
    unseen = 0  # offset behind the last frame that came
    failures = 0
    while unseen < len(times) and failures < MAX_FAILURES:
        if not capture.grab():
            failures += 1
            continue
        failures = 0
        pts_ns = capture.pts_ns()
        if pts_ns < times[0]:
            continue
        offset = bisect_left(times, pts_ns)
        if offset == len(times):
            break
        if times[offset] != pts_ns or offset < unseen:
            progress.strays += 1
            continue
        unseen = offset + 1
        if offset < progress.next:
            continue
        skipped = wanted(frames.first + progress.next, frames.first + offset, every_nth)
        if skipped and stop_at_gap:
            break
        yield from _take(capture, frames, every_nth, progress, offset)
    progress.ended = failures < MAX_FAILURES


def _by_count(
    capture: Capture,
    frames: FrameRange,
    every_nth: int,
    progress: _Progress,
    *,
    stop_at_gap: bool,
) -> Generator[Frame]:
    """One pass from the start of the file that tells frames by counting them."""
    failures = 0
    offset = 0
    while failures < MAX_FAILURES:
        if not capture.grab():
            failures += 1
            continue
        if failures and stop_at_gap:
            return
        failures = 0
        if offset >= len(frames):
            progress.strays += 1
        elif offset >= progress.next:
            yield from _take(capture, frames, every_nth, progress, offset)
        offset += 1


def _take(
    capture: Capture, frames: FrameRange, every_nth: int, progress: _Progress, offset: int
) -> Generator[Frame]:
    """Give the grabbed frame if it is wanted; one without a picture is as good as missing."""
    index = frames.first + offset
    if index % every_nth:
        progress.next = offset + 1
    elif (image := capture.image()) is not None:
        progress.next = offset + 1
        progress.given += 1
        yield Frame(index, int(frames.pts_ns[offset]), image)


def _missing(name: str, frames: FrameRange, progress: _Progress, expected: int) -> FramesMissing:
    message = (
        f"{name}: frames {frames.first} to {frames.stop - 1} gave {progress.given} of "
        f"{expected} expected"
    )
    if frames.broken:
        message += f"; {frames.broken} packets are damaged or missing"
    if progress.strays:
        message += f"; {progress.strays} frames came twice or are not in the file's index"
    return FramesMissing(message, progress.given, expected)
