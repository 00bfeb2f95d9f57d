"""Writes a scene as a video with its ground truth.

Files appear under their names only when they are complete, and the video last: whoever finds the
video finds its truth too, and an interrupted render leaves nothing that looks like a clip.

OpenCV's `mp4v` writer puts a keyframe every 12 frames (measured with OpenCV 5.0; it takes no option
for it, opencv/opencv#24570), about two a second, so a clip can be cut nearly anywhere.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from carpool.errors import OutputUnavailable
from carpool.synth.scene import Scene
from carpool.synth.truth import truth_table, write_mot, write_parquet

if TYPE_CHECKING:
    from carpool.synth.settings import SceneSettings
    from carpool.synth.truth import TruthBox

TRUTH_FOLDER = "truth"
"""Subfolder for ground truth, out of the way of patterns like `*.mp4` and of Parquet readers."""


@dataclass(frozen=True, slots=True)
class RenderedVideo:
    """The files of a clip.

    Attributes:
        video: MP4 (MPEG-4 part 2), constant frame rate.
        truth: Parquet, `carpool.synth.truth.SCHEMA`.
        mot: the same boxes as MOT Challenge text.
        frames: frames in the clip.
    """

    video: Path
    truth: Path
    mot: Path
    frames: int

    @classmethod
    def at(cls, directory: Path, name: str, frames: int) -> RenderedVideo:
        """The files that a clip called `name` has in a directory."""
        return cls(
            video=directory / f"{name}.mp4",
            truth=directory / TRUTH_FOLDER / f"{name}.parquet",
            mot=directory / TRUTH_FOLDER / f"{name}.txt",
            frames=frames,
        )


def render_video(settings: SceneSettings, directory: Path, name: str) -> RenderedVideo:
    """Render a clip; existing files of that name are replaced.

    Args:
        settings: what to render.
        directory: where to write; made if missing.
        name: file name without suffix.

    Raises:
        OutputUnavailable: the files cannot be written.
    """
    rendered = RenderedVideo.at(directory, name, settings.frames)
    try:
        rendered.truth.parent.mkdir(parents=True, exist_ok=True)
        # In the same directory, for a rename is atomic only within a file system.
        with tempfile.TemporaryDirectory(prefix=".render-", dir=directory) as unfinished:
            part = RenderedVideo.at(Path(unfinished), name, settings.frames)
            part.truth.parent.mkdir()
            table = truth_table(settings, rendered.video.name, _write_video(settings, part.video))
            write_parquet(table, part.truth)
            write_mot(table, part.mot)
            part.truth.replace(rendered.truth)
            part.mot.replace(rendered.mot)
            part.video.replace(rendered.video)
    except OSError as error:
        raise OutputUnavailable(f"{rendered.video}: cannot be rendered: {error}") from error
    return rendered


def _write_video(settings: SceneSettings, path: Path) -> list[list[TruthBox]]:
    """Write the frames; gives the boxes of each."""
    scene = Scene(settings)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    size = (settings.width, settings.height)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, settings.fps, size)
    if not writer.isOpened():
        raise OutputUnavailable(f"{path}: OpenCV cannot open it for writing (codec mp4v)")
    truth: list[list[TruthBox]] = []
    try:
        for index in range(settings.frames):
            image, boxes = scene.frame(index)
            writer.write(image)
            truth.append(boxes)
    finally:
        writer.release()
    _check_written(path, settings.frames)
    return truth


def _check_written(path: Path, frames: int) -> None:
    """The writer reports no errors, not even a full disk; the file itself must be asked."""
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        written = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
    finally:
        reader.release()
    if written != frames:
        raise OutputUnavailable(f"{path}: {written} of {frames} frames were written")
