from __future__ import annotations

import numpy as np
import pytest

from carpool.errors import InputUnavailable, Undecodable
from carpool.inputs.video_index import index_video
from support.clips import (
    FRAME_NS,
    HEIGHT,
    WIDTH,
    damage,
    hide_frames,
    index_first,
    sequential,
    truncate,
    write_clip,
)

CUTTABLE = [
    ("a.mp4", "mp4v"),
    ("b-frames.mp4", "mpg2"),
    ("a.mkv", "VP80"),
    ("b-frames.mkv", "mpg2"),
    ("a.webm", "VP90"),
    ("a.avi", "MJPG"),
    ("a.ts", "mp4v"),
    ("b-frames.ts", "mpg2"),
]


@pytest.mark.parametrize(("name", "codec"), CUTTABLE)
def test_packets_give_each_frame_its_time(tmp_path, name, codec):
    path = write_clip(tmp_path / name, 40, codec)
    index = index_video(path)
    assert index.pts_ns.tolist() == [pts_ns for pts_ns, _ in sequential(path)]
    assert index.pts_ns.tolist() == [number * FRAME_NS for number in range(40)]
    assert (index.width, index.height, index.fps) == (WIDTH, HEIGHT, 25.0)
    assert index.timed
    assert index.cuttable
    assert index.looks_complete
    assert index.keyframes[0] == 0
    assert len(index.keyframes) == (40 if codec == "MJPG" else 4)


@pytest.mark.parametrize(("name", "codec"), [("b-frames.avi", "MPG2"), ("b-frames.mpg", "MPG2")])
def test_files_without_times_of_presentation_are_one_piece(tmp_path, name, codec):
    index = index_video(write_clip(tmp_path / name, 40, codec))
    assert (index.frames, index.timed, index.cuttable) == (40, False, False)
    assert index.pts_ns.tolist() == [number * FRAME_NS for number in range(40)]


def test_frames_that_an_edit_list_hides_are_not_indexed(tmp_path):
    index = index_video(hide_frames(write_clip(tmp_path / "a.mp4", 40), 6, 5))
    assert (index.frames, index.timed, index.cuttable) == (29, True, False)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_what_a_truncated_file_lacks_is_counted(tmp_path, name):
    path = write_clip(tmp_path / name, 60, "MJPG" if name == "a.avi" else "mp4v")
    if name == "a.mp4":
        index_first(path)
    index = index_video(truncate(path))
    assert 20 < index.frames < 50
    assert index.frames + len(index.broken) == 60
    assert set(index.broken.tolist()) == {index.frames - 1}
    assert not index.looks_complete


def test_the_incomplete_packet_at_the_cut_is_not_a_frame(tmp_path):
    path = write_clip(tmp_path / "a.avi", 10, "MJPG")
    content = path.read_bytes()
    third = [at for at in range(len(content)) if content.startswith(b"\xff\xd8\xff", at)][2]
    path.write_bytes(content[: third + 200])
    index = index_video(path)
    assert (index.frames, len(index.broken)) == (2, 8)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"This is a text.\n", r"is a text file, not a video \(starts b'This is a text"),
        (b"#EXTM3U\n", "is a playlist"),
        (bytes(range(256)) * 20, r"is not a video file that can be read \(starts b'"),
    ],
)
def test_what_is_no_video_says_what_was_found(tmp_path, content, found):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(Undecodable, match=found) as caught:
        index_video(path, "s3://bucket/a.mp4")
    assert str(caught.value).startswith("s3://bucket/a.mp4: ")
    assert caught.value.frames_expected is None


def test_a_truncated_file_without_its_index_says_so(tmp_path):
    path = truncate(write_clip(tmp_path / "a.mp4", 60))
    with pytest.raises(Undecodable, match=r"is truncated: \d+ of \d+ bytes"):
        index_video(path)


def test_a_container_without_video_says_so(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 10)
    path.write_bytes(path.read_bytes().replace(b"vide", b"soun"))
    with pytest.raises(Undecodable, match="holds no video stream"):
        index_video(path)


def test_a_video_without_one_good_frame_is_undecodable(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 30, "VP90")
    path.write_bytes(path.read_bytes().replace(b"V_VP9", b"V_VP8"))  # what it is not
    with pytest.raises(Undecodable, match="none of its 30 frames can be decoded") as caught:
        index_video(path)
    assert (caught.value.frames_given, caught.value.frames_expected) == (0, 30)


def test_damage_in_the_middle_does_not_shorten_the_index(tmp_path):
    path = damage(write_clip(tmp_path / "a.mp4", 60))
    index = index_video(path)
    assert index.frames + len(index.broken) == 60


def test_a_file_that_cannot_be_opened_could_pass(tmp_path):
    with pytest.raises(InputUnavailable, match=r"gone\.mp4"):
        index_video(tmp_path / "gone.mp4")


def test_keyframes_are_ranks_in_the_order_of_presentation(tmp_path):
    index = index_video(write_clip(tmp_path / "b-frames.mp4", 40, "mpg2"))
    assert (np.diff(index.keyframes) > 0).all()
    assert index.keyframes.dtype == index.pts_ns.dtype == np.int64
