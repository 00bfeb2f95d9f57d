"""The plan of a job: each file indexed and cut, before Spark starts.

Files are indexed a few at a time; reading them is what takes time. What must stay true: the order
of the plan is that of the files, whatever order they are finished in, and a file is called
unreadable only where its content proves it. Anything that could pass ends planning instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from carpool.errors import Undecodable
from carpool.inputs.filesystem import InputFile, StorageOptions
from carpool.inputs.proof import index_input
from carpool.inputs.video_index import VideoIndex
from carpool.plan.identity import unit_id, unreadable_id, video_id
from carpool.plan.units import Plan, UnreadableInput, VideoPlan, WorkUnit, cut

INDEXING_THREADS = 4


def plan_videos(
    files: Sequence[InputFile],
    *,
    chunk_seconds: int,
    every_nth: int,
    fingerprint: str,
    storage: StorageOptions,
    scratch: Path,
    on_indexed: Callable[[int, int], None] | None = None,
) -> Plan:
    """Index and cut all files.

    Args:
        files: what `expand` found.
        chunk_seconds: length of a work unit; 0 = one keyframe group each.
        every_nth: use only each n-th frame.
        fingerprint: identity of model, handler and parameters; see `carpool.plan.identity`.
        storage: where S3 is.
        scratch: folder for copies of remote files; each is removed after indexing.
        on_indexed: called with (files done, files in all) after each file, one call at a time, from
            the thread that called `plan_videos`.

    Returns:
        The plan, in the order of `files`.

    Raises:
        InputUnavailable: a file cannot be read now.
    """
    with ThreadPoolExecutor(INDEXING_THREADS, thread_name_prefix="index") as pool:
        index = partial(index_input, storage=storage, scratch=scratch)
        futures = [pool.submit(index, file) for file in files]
        try:
            _report(futures, on_indexed)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    videos: list[VideoPlan] = []
    unreadable: list[UnreadableInput] = []
    for file, future in zip(files, futures, strict=True):
        try:
            videos.append(_plan_video(file, future.result(), chunk_seconds, every_nth, fingerprint))
        except Undecodable as error:
            unreadable.append(
                UnreadableInput(
                    unreadable_id(file, fingerprint),
                    file,
                    error.reason,
                    str(error),
                    error.frames_expected,
                )
            )
    return Plan(tuple(videos), tuple(unreadable))


def _report(
    futures: Sequence[Future[VideoIndex]], on_indexed: Callable[[int, int], None] | None
) -> None:
    """Wait for all, report each; raise the first error that is not about a file's content."""
    pending = set(futures)
    reported = 0
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is not None and not isinstance(error, Undecodable):
                raise error
            reported += 1
            if on_indexed is not None:
                on_indexed(reported, len(futures))


def _plan_video(
    file: InputFile, index: VideoIndex, chunk_seconds: int, every_nth: int, fingerprint: str
) -> VideoPlan:
    if index.frames == 0:
        raise Undecodable(f"{file.uri}: holds no frame")
    video = video_id(file, every_nth, fingerprint)
    units = tuple(
        WorkUnit(
            unit_id(file, frames, every_nth, fingerprint),
            video,
            file,
            frames,
            every_nth,
            frames.expected(every_nth),
        )
        for frames in cut(index, chunk_seconds)
        if frames.expected(every_nth)  # a short unit may hold no n-th frame
    )
    return VideoPlan(
        video,
        file,
        index.width,
        index.height,
        index.fps,
        sum(unit.expected for unit in units),
        units,
    )
