"""Work units: how a video is cut, as a pure function of its index.

What must stay true: the units of a video cover each of its frames exactly once, in order, and
every cut lies at a keyframe, so that a unit can be decoded without the frames before it. Results
do not depend on where the cuts lie.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from carpool.inputs.filesystem import InputFile
from carpool.inputs.video_decode import FrameRange
from carpool.inputs.video_index import VideoIndex


@dataclass(frozen=True, slots=True, eq=False)
class WorkUnit:
    """What one Spark task reads.

    Attributes:
        unit_id: identity of the unit's results, 32 hexadecimal digits.
        video_id: identity of the video's results.
        file: the input file.
        frames: the range of the video.
        every_nth: only frames whose index is a multiple of this are used.
        expected: frames the unit must give.
    """

    unit_id: str
    video_id: str
    file: InputFile
    frames: FrameRange
    every_nth: int
    expected: int


@dataclass(frozen=True, slots=True, eq=False)
class VideoPlan:
    """One video and its units, in the order of their frames.

    Attributes:
        video_id: identity of the video's results, 32 hexadecimal digits.
        file: the input file.
        width: pixels of a decoded frame.
        height: pixels of a decoded frame.
        fps: frames per second that the container declares, before `every_nth`.
        frames: frames all units must give together.
        units: the work units.
    """

    video_id: str
    file: InputFile
    width: int
    height: int
    fps: float
    frames: int
    units: tuple[WorkUnit, ...]


@dataclass(frozen=True, slots=True)
class UnreadableInput:
    """A file whose content proves that nothing can be had from it.

    Attributes:
        unit_id: stands for the file where a unit's identity is needed, 32 hexadecimal digits.
        file: the input file.
        reason: CamelCase reason, the name of the error's type.
        message: what was found, for the user.
        expected: frames the file claims to hold; None where it does not say.
    """

    unit_id: str
    file: InputFile
    reason: str
    message: str
    expected: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that a job has to do.

    Attributes:
        videos: readable videos, sorted by path.
        unreadable: files that give nothing, sorted by path.
    """

    videos: tuple[VideoPlan, ...]
    unreadable: tuple[UnreadableInput, ...]

    @property
    def units(self) -> tuple[WorkUnit, ...]:
        """The units of all videos, in order."""
        return tuple(unit for video in self.videos for unit in video.units)

    @property
    def total_frames(self) -> int:
        """Frames of all units."""
        return sum(video.frames for video in self.videos)


def cut(index: VideoIndex, chunk_seconds: int) -> list[FrameRange]:
    """Cut a video at keyframes into ranges of about `chunk_seconds`.

    Args:
        index: the video's index.
        chunk_seconds: a range ends at the last keyframe that is not later than its start plus this;
            where there is none, at the next keyframe. 0 makes each keyframe group a range.

    Returns:
        Ranges that cover all frames once, in order; a single one where the file cannot be cut.
    """
    total = index.frames
    cuts = [int(key) for key in index.keyframes if 0 < key < total] if index.cuttable else []
    bounds = [0, *_choose(index, cuts, chunk_seconds * 1_000_000_000), total]
    broken = np.searchsorted(index.broken, bounds)
    return [
        FrameRange(
            bounds[at],
            index.pts_ns[bounds[at] : bounds[at + 1]],
            int(broken[at + 1] - broken[at]),
            index.timed,
        )
        for at in range(len(bounds) - 1)
    ]


def _choose(index: VideoIndex, cuts: list[int], chunk_ns: int) -> list[int]:
    """Those keyframes of `cuts` (ascending) at which ranges start, the first range apart."""
    chosen: list[int] = []
    start_ns = int(index.pts_ns[0])
    end_ns = int(index.pts_ns[-1] + 1e9 / index.fps)
    times = [int(index.pts_ns[key]) for key in cuts]
    at = 0
    while at < len(cuts) and end_ns > start_ns + chunk_ns:
        at = max(at, bisect_right(times, start_ns + chunk_ns) - 1)
        chosen.append(cuts[at])
        start_ns = times[at]
        at += 1
    return chosen
