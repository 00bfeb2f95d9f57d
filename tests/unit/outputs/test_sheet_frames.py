from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.outputs.folder import OutputFolder
from carpool.outputs.sheet_frames import frames_to_show, pick_frames, share_out
from support.output_runs import LOCAL, Job, Video, run

VIDEOS = (Video("a.mp4", frames=40), Video("b.mp4", frames=40))


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(str(tmp_path), LOCAL)


def frames_of(*videos):
    return {video.uri: video.frames for video in videos}


def test_places_are_shared_evenly():
    assert share_out(["a", "b", "c"], 7) == [("a", 3), ("b", 2), ("c", 2)]
    assert share_out(["a"], 9) == [("a", 9)]
    assert share_out([], 9) == []
    assert share_out(["a"], 0) == []


def test_of_many_videos_evenly_spaced_ones_are_shown():
    videos = [f"{number:02}" for number in range(30)]

    assert share_out(videos, 3) == [("05", 1), ("15", 1), ("25", 1)]


@given(videos=st.integers(1, 40), count=st.integers(1, 20))
def test_all_places_are_given_to_distinct_videos(videos, count):
    shares = share_out([f"{number:03}" for number in range(videos)], count)

    assert sum(share for _, share in shares) == count
    assert len({video for video, _ in shares}) == len(shares) == min(videos, count)


def test_of_a_part_the_frame_with_most_objects_is_taken():
    found = np.array([30, 40, 40, 41, 60, 145, 150, 150, 150], np.int64)

    assert pick_frames(200, found, 2) == [40, 150]


def test_of_equals_the_frame_nearest_to_the_middle_is_taken():
    assert pick_frames(100, np.array([30, 45, 70], np.int64), 1) == [45]


def test_frames_at_the_edges_of_a_part_are_the_last_resort():
    crowded_edges = np.array([99] * 5 + [100] * 5 + [40, 160], np.int64)

    assert pick_frames(200, crowded_edges, 2) == [40, 160]
    assert pick_frames(200, np.array([99, 100], np.int64), 2) == [99, 100]


def test_where_nothing_was_found_the_middle_is_shown():
    assert pick_frames(100, np.empty(0, np.int64), 2) == [25, 75]
    assert pick_frames(100, np.empty(0, np.int64), 2, every_nth=10) == [20, 70]


@given(
    frames=st.integers(1, 500),
    found=st.lists(st.integers(0, 499), max_size=30),
    count=st.integers(1, 12),
)
def test_picked_frames_are_frames_of_the_video_in_order(frames, found, count):
    inside = np.array([index for index in found if index < frames], np.int64)

    picked = pick_frames(frames, inside, count)

    assert 1 <= len(picked) <= count
    assert all(first < second for first, second in itertools.pairwise(picked))
    assert all(0 <= index < frames for index in picked)


def test_frames_come_with_their_tracks(folder):
    run(folder, Job("job", VIDEOS))

    shown = frames_to_show(folder, frames_of(*VIDEOS), 4)

    assert [frame.video_uri[-5:] for frame in shown] == ["a.mp4", "a.mp4", "b.mp4", "b.mp4"]
    for frame in shown:
        assert frame.frame_index % 4 == 3  # there are the most objects
        assert frame.track_ids.tolist() == [0, 1]
        assert frame.class_names == ("truck", "bus")
        assert frame.boxes.dtype == np.float32
        assert frame.boxes[:, 0].tolist() == [100 + frame.frame_index, 200 + frame.frame_index]


def test_without_tracks_frames_come_with_their_detections(folder):
    run(folder, Job("job", VIDEOS, tracking=""))

    (shown,) = frames_to_show(folder, frames_of(VIDEOS[0]), 1)

    assert shown.track_ids.tolist() == [-1, -1, -1]
    assert len(shown.boxes) == 3


def test_a_video_without_results_is_shown_without_boxes(folder):
    run(folder, Job("job", VIDEOS))

    (shown,) = frames_to_show(folder, {"file:///empty.mp4": 10, "file:///none.mp4": 0}, 3)[:1]

    assert (shown.video_uri, len(shown.boxes), shown.class_names) == ("file:///empty.mp4", 0, ())
