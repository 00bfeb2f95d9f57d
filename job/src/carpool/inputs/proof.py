"""Bad input is what content proves: reading failed on a copy that was made by reading everything.

A decoder cannot tell a damaged file from storage that fails under it: both end in fewer frames. So
whatever fails on the file where it lies is tried again on a private full copy. Making that copy
raises `InputUnavailable` if the storage is to blame; only what fails on the copy as well is
`BadInput`, and final.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from carpool.errors import BadInput, FramesMissing, Undecodable
from carpool.inputs.filesystem import InputFile, StorageOptions, is_local
from carpool.inputs.staging import check_unchanged, local_copy, private_copy
from carpool.inputs.video_decode import Frame, FrameRange, decode_frames, wanted
from carpool.inputs.video_index import VideoIndex, index_video

_log = logging.getLogger(__name__)


def index_input(file: InputFile, *, storage: StorageOptions, scratch: Path) -> VideoIndex:
    """Index a video file; copies made on the way are removed.

    Args:
        file: the file as planned.
        storage: where S3 is.
        scratch: folder for copies.

    Raises:
        Undecodable: proven on a full copy; see `index_video`.
        InputUnavailable: the file cannot be read now, or has changed since it was listed.
    """
    if is_local(file.uri):
        try:
            with local_copy(file, storage, scratch) as path:
                index = index_video(path, file.uri)
            check_unchanged(file, storage)
            if index.looks_complete:
                return index
        except Undecodable as error:
            _log.info("%s; indexing again from a full copy", error)
    with private_copy(file, storage, scratch) as path:
        index = index_video(path, file.uri)
    if not index.looks_complete:
        _log.warning(
            "%s: %d of its packets can be read; %d are damaged or missing; its header speaks of "
            "%d frames, which may be an estimate",
            file.uri,
            index.frames,
            len(index.broken),
            index.declared,
        )
    return index


def decode_unit(
    file: InputFile,
    frames: FrameRange,
    every_nth: int = 1,
    *,
    storage: StorageOptions,
    scratch: Path,
) -> Generator[Frame]:
    """Decode a work unit's frames, in order, from wherever the file is.

    When decoding fails, it goes on from a private full copy at the very frame where it stopped, so
    that the receiver sees one sequence, each frame once. The range must come from an index made by
    `index_input`.

    Args:
        file: the file as planned.
        frames: the unit's range.
        every_nth: give only frames whose index within the video is a multiple of this.
        storage: where S3 is.
        scratch: folder for copies, shared by all tasks of the machine.

    Yields:
        Frames in ascending order of their index.

    Raises:
        FramesMissing: proven on a full copy, after all good frames were given.
        Undecodable: proven on a full copy: the file cannot be opened.
        InputUnavailable: the file cannot be read now, or has changed since it was planned.
    """
    start = frames.first
    try:
        with local_copy(file, storage, scratch) as path:
            decoded = decode_frames(path, frames, every_nth, name=file.uri, stop_at_gap=True)
            with closing(decoded):  # the file is closed before the copy is given back
                for frame in decoded:
                    start = frame.index + 1
                    yield frame
        check_unchanged(file, storage)
    except BadInput as error:
        indexed = wanted(frames.first, frames.stop, every_nth)
        if isinstance(error, FramesMissing) and error.frames_given == indexed:
            raise  # all that the index knows came; what it lacks was proven when it was made
        _log.info("%s; going on from a full copy at frame %d", error, start)
    else:
        return
    with private_copy(file, storage, scratch) as path:
        # No seek: what is called missing must be missing when the file is read from its start.
        yield from decode_frames(path, frames, every_nth, name=file.uri, start=start, seek=False)
