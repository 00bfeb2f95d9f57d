from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import FramesMissing, Undecodable
from carpool.inputs.video_decode import FrameRange, decode_frames, wanted
from carpool.inputs.video_index import VideoIndex, index_video
from carpool.plan.units import cut
from support.clips import (
    collect,
    damage,
    hide_frames,
    image_hash,
    index_first,
    sequential,
    shown_number,
    truncate,
    write_clip,
)
from support.real_clip import real_file

FORMATS = [
    ("a.mp4", "mp4v"),
    ("b-frames.mp4", "mpg2"),
    ("a.mkv", "VP80"),
    ("b-frames.mkv", "mpg2"),
    ("a.webm", "VP90"),
    ("a.avi", "MJPG"),
    ("b-frames.avi", "MPG2"),
    ("a.ts", "mp4v"),
    ("b-frames.ts", "mpg2"),
    ("b-frames.mpg", "MPG2"),
]


def whole(index: VideoIndex) -> FrameRange:
    (frames,) = cut(index, 10**6)
    return frames


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_keyframe_groups_together_give_the_sequential_decode(tmp_path, name, codec):
    path = write_clip(tmp_path / name, 60, codec)
    index = index_video(path)
    decoded = [frame for unit in cut(index, 0) for frame in decode_frames(path, unit)]
    assert [shown_number(frame.image) for frame in decoded] == list(range(60))
    assert [frame.index for frame in decoded] == list(range(60))
    assert [frame.pts_ns for frame in decoded] == index.pts_ns.tolist()
    assert [image_hash(frame.image) for frame in decoded] == [it for _, it in sequential(path)]


@pytest.mark.data
@pytest.mark.parametrize("name", ["traffic.mp4", "dashcam.mp4"])
def test_keyframe_groups_of_real_clips_give_the_sequential_decode(name):
    path = real_file(name)
    index = index_video(path)
    decoded = [
        (frame.index, frame.pts_ns, image_hash(frame.image))
        for unit in cut(index, 0)
        for frame in decode_frames(path, unit)
    ]
    assert decoded == [(number, *frame) for number, frame in enumerate(sequential(path))]
    assert len(cut(index, 0)) > 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", 60, "mpg2")
    return path, index_video(path)


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 59), length=st.integers(1, 60), every_nth=st.integers(1, 20))
def test_any_range_gives_exactly_its_frames(clip, first, length, every_nth):
    path, index = clip
    stop = min(first + length, 60)
    frames = FrameRange(first, index.pts_ns[first:stop])
    decoded = list(decode_frames(path, frames, every_nth))
    numbers = [number for number in range(first, stop) if number % every_nth == 0]
    assert [frame.index for frame in decoded] == numbers
    assert [shown_number(frame.image) for frame in decoded] == numbers
    assert frames.expected(every_nth) == len(numbers) == wanted(first, stop, every_nth)


@settings(max_examples=20, deadline=None)
@given(start=st.integers(20, 45), seek=st.booleans())
def test_decoding_can_begin_inside_of_a_range(clip, start, seek):
    path, index = clip
    frames = FrameRange(20, index.pts_ns[20:45])
    decoded = list(decode_frames(path, frames, start=start, seek=seek))
    assert [shown_number(frame.image) for frame in decoded] == list(range(start, 45))


def test_images_stay_when_the_next_frame_is_decoded(clip):
    path, index = clip
    frames = list(decode_frames(path, FrameRange(0, index.pts_ns[:5])))
    assert [shown_number(frame.image) for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (192, 320, 3)


def test_frames_hidden_by_an_edit_list_are_not_given(tmp_path):
    path = hide_frames(write_clip(tmp_path / "a.mp4", 40), 6, 5)
    decoded = list(decode_frames(path, whole(index_video(path))))
    assert [shown_number(frame.image) for frame in decoded] == list(range(6, 35))
    assert [frame.index for frame in decoded] == list(range(29))


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_a_truncated_file_gives_its_good_frames_then_says_what_is_missing(tmp_path, name):
    path = write_clip(tmp_path / name, 60, "MJPG" if name == "a.avi" else "mp4v")
    if name == "a.mp4":
        index_first(path)
    units = cut(index_video(truncate(path)), 1)
    shown = []
    for unit in units:
        given, error = collect(decode_frames(path, unit))
        shown += [shown_number(frame.image) for frame in given]
        assert (error is not None) == (unit is units[-1])
    assert shown == list(range(units[-1].stop))
    assert "damaged or missing" in str(error)
    assert error.frames_given == len(units[-1])
    assert error.frames_expected == 60 - units[-1].first


def test_damage_costs_its_own_keyframe_group_only(tmp_path):
    path = damage(write_clip(tmp_path / "a.mp4", 60), count=800)
    missing = {}
    for unit in cut(index_video(path), 0):
        given, error = collect(decode_frames(path, unit))
        if error is not None:
            assert error.frames_given == len(given) < error.frames_expected == 12
            missing[unit.first] = error.frames_expected - len(given)
        else:
            assert [frame.index for frame in given] == list(range(unit.first, unit.stop))
    assert 1 <= len(missing) <= 2


def test_a_gap_can_end_the_decoding_at_once(tmp_path):
    path = damage(write_clip(tmp_path / "a.mp4", 60), count=800)
    frames = whole(index_video(path))
    given, error = collect(decode_frames(path, frames, stop_at_gap=True))
    assert [frame.index for frame in given] == list(range(len(given)))
    assert error.frames_given == len(given) < 60
    behind, error = collect(decode_frames(path, frames, start=len(given), seek=False))
    assert behind[0].index > len(given)
    assert error.frames_given == len(given) + len(behind)


def test_an_index_that_promises_too_much_is_not_believed(clip):
    path, index = clip
    longer = np.append(index.pts_ns, index.pts_ns[-1] + 40_000_000)
    with pytest.raises(FramesMissing) as caught:
        list(decode_frames(path, FrameRange(0, longer)))
    assert (caught.value.frames_given, caught.value.frames_expected) == (60, 61)
    with pytest.raises(FramesMissing):
        list(decode_frames(path, FrameRange(0, longer, timed=False)))


def test_frames_that_the_index_does_not_know_are_not_silent(clip):
    path, index = clip
    with pytest.raises(FramesMissing, match="1 frames came twice or are not in the file's index"):
        list(decode_frames(path, FrameRange(0, np.delete(index.pts_ns, 7))))
    with pytest.raises(FramesMissing, match="3 frames came twice or are not in the file's index"):
        list(decode_frames(path, FrameRange(0, index.pts_ns[:-3], timed=False)))


def test_starting_behind_the_last_frame_gives_nothing_but_still_tells_what_is_wrong(clip):
    path, index = clip
    assert list(decode_frames(path, FrameRange(20, index.pts_ns[20:30]), start=30)) == []
    with pytest.raises(FramesMissing, match="came twice"):
        list(decode_frames(path, FrameRange(0, np.delete(index.pts_ns, 7)), start=59, seek=False))


def test_a_file_that_does_not_open_is_undecodable(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(Undecodable, match=r"s3://bucket/a\.mp4"):
        list(decode_frames(path, FrameRange(0, np.zeros(1, np.int64)), name="s3://bucket/a.mp4"))


def _open_files(path):
    return [
        link.name
        for link in Path("/proc/self/fd").iterdir()
        if os.path.lexists(link) and os.path.realpath(link) == str(path.resolve())
    ]


def test_the_file_is_closed_when_decoding_ends_early(clip):
    path, index = clip
    decoded = decode_frames(path, FrameRange(0, index.pts_ns))
    next(decoded)
    assert _open_files(path)
    decoded.close()
    assert not _open_files(path)


def test_the_decoder_uses_one_thread(clip):
    path, index = clip
    before = len(list(Path("/proc/self/task").iterdir()))
    decoded = decode_frames(path, FrameRange(0, index.pts_ns))
    next(decoded)
    assert len(list(Path("/proc/self/task").iterdir())) == before
    decoded.close()
