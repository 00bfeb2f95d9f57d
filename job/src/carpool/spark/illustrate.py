"""The contact sheet of a job: a few frames, decoded again, with what was found in them.

It is an illustration: a frame that cannot be had is left out, and whoever calls this goes on
without a sheet if it fails.
"""

from __future__ import annotations

from pathlib import Path

from carpool.errors import InputError
from carpool.inputs.filesystem import StorageOptions
from carpool.inputs.staging import local_copy
from carpool.inputs.video_decode import Frame, FrameRange, decode_frames
from carpool.outputs.contact_sheet import Tile, draw_contact_sheet
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import CONTACT_SHEET
from carpool.outputs.sheet_frames import ShownFrame, frames_to_show
from carpool.plan.units import Plan, VideoPlan

TILES = 9


def commit_contact_sheet(
    folder: OutputFolder, plan: Plan, storage: StorageOptions, scratch: Path
) -> None:
    """Draw the contact sheet of a job and write it into its output.

    Raises:
        OutputUnavailable: the storage failed.
    """
    videos = {video.file.uri: video for video in plan.videos}
    every_nth = plan.units[0].every_nth if plan.units else 1
    shown = frames_to_show(
        folder, {uri: video.frames for uri, video in videos.items()}, TILES, every_nth
    )
    tiles = []
    for each in shown:
        frame = _frame(videos[each.video_uri], each.frame_index, storage, scratch)
        if frame is not None:
            tiles.append(_tile(videos[each.video_uri], each, frame))
    if tiles:
        folder.commit(CONTACT_SHEET, draw_contact_sheet(tiles))


def _frame(video: VideoPlan, index: int, storage: StorageOptions, scratch: Path) -> Frame | None:
    unit = next(
        (u for u in video.units if u.frames.first <= index < u.frames.first + len(u.frames)), None
    )
    if unit is None:
        return None
    offset = index - unit.frames.first
    one = FrameRange(index, unit.frames.pts_ns[offset : offset + 1])
    try:
        with local_copy(video.file, storage, scratch) as path:
            return next(iter(decode_frames(path, one)), None)
    except InputError:
        return None


def _tile(video: VideoPlan, shown: ShownFrame, frame: Frame) -> Tile:
    seconds = frame.pts_ns / 1e9
    return Tile(
        image=frame.image,
        boxes=shown.boxes,
        class_names=shown.class_names,
        track_ids=shown.track_ids,
        title=f"{video.file.path}  frame {shown.frame_index}  {seconds:.1f} s",
    )
