from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.inputs.video_index import VideoIndex
from carpool.plan.units import cut

SECOND = 1_000_000_000


def video(pts_ns, keyframes, broken=(), *, timed=True, cuttable=True):
    return VideoIndex(
        np.array(pts_ns, np.int64),
        np.array(keyframes, np.int64),
        np.array(broken, np.int64),
        width=320,
        height=192,
        fps=25.0,
        declared=len(pts_ns),
        timed=timed,
        cuttable=cuttable,
    )


def steady(frames, keyframe_every, **facts):
    """25 frames per second, a keyframe every so many."""
    return video(np.arange(frames) * SECOND // 25, range(0, frames, keyframe_every), **facts)


@st.composite
def videos(draw):
    gaps = draw(st.lists(st.integers(1, 3 * SECOND), min_size=1, max_size=60))
    frames = len(gaps)
    places = st.lists(st.integers(0, frames - 1), max_size=10)
    return video(
        np.cumsum(gaps),
        sorted(set(draw(places))),
        sorted(draw(places)),
        cuttable=draw(st.booleans()),
    )


@settings(max_examples=50, deadline=None)
@given(index=videos(), chunk_seconds=st.integers(0, 40))
def test_units_cover_each_frame_once_and_start_at_keyframes(index, chunk_seconds):
    units = cut(index, chunk_seconds)
    assert [unit.first for unit in units] == [0, *(unit.stop for unit in units[:-1])]
    assert units[-1].stop == index.frames
    assert np.concatenate([unit.pts_ns for unit in units]).tolist() == index.pts_ns.tolist()
    assert {unit.first for unit in units[1:]} <= set(index.keyframes.tolist())
    assert sum(unit.broken for unit in units) == len(index.broken)
    if not index.cuttable:
        assert len(units) == 1


@settings(max_examples=50, deadline=None)
@given(index=videos(), chunk_seconds=st.integers(1, 40))
def test_units_are_as_long_as_keyframes_allow_and_no_longer(index, chunk_seconds):
    keys = set(index.keyframes.tolist()) if index.cuttable else set()
    for unit in cut(index, chunk_seconds):
        inside = [key for key in keys if unit.first < key < unit.stop]
        start = int(unit.pts_ns[0])
        if unit.stop < index.frames:
            length = int(index.pts_ns[unit.stop]) - start
            assert length <= chunk_seconds * SECOND or not inside
            later = [key for key in keys if key > unit.stop]
            if later and length <= chunk_seconds * SECOND:
                assert int(index.pts_ns[min(later)]) - start > chunk_seconds * SECOND


@settings(max_examples=30, deadline=None)
@given(index=videos(), every_nth=st.integers(1, 9), chunk_seconds=st.integers(0, 9))
def test_sampling_gives_the_same_frames_however_the_video_is_cut(index, every_nth, chunk_seconds):
    good = video(index.pts_ns, index.keyframes, cuttable=index.cuttable)
    units = cut(good, chunk_seconds)
    expected = sum(unit.expected(every_nth) for unit in units)
    assert expected == -(-index.frames // every_nth)


def test_chunk_seconds_0_makes_each_keyframe_group_a_unit():
    assert [len(unit) for unit in cut(steady(60, 12), 0)] == [12] * 5


def test_units_end_at_the_last_keyframe_within_the_chunk():
    # keyframes every 0.48 s: two groups fit into one second
    assert [len(unit) for unit in cut(steady(100, 12), 1)] == [24, 24, 24, 24, 4]


def test_a_rest_that_fits_is_not_cut_once_more():
    assert [len(unit) for unit in cut(steady(100, 12), 4)] == [100]
    assert [len(unit) for unit in cut(steady(100, 12), 30)] == [100]


def test_without_a_keyframe_in_the_chunk_the_next_one_is_taken():
    assert [len(unit) for unit in cut(steady(200, 90), 1)] == [90, 90, 20]


def test_frames_before_the_first_keyframe_belong_to_the_first_unit():
    index = video(np.arange(20) * SECOND, [5, 10, 15])
    assert [unit.first for unit in cut(index, 0)] == [0, 5, 10, 15]


def test_times_need_not_start_at_zero():
    index = video(np.arange(100) * SECOND // 25 + 70 * SECOND, range(0, 100, 25))
    assert [len(unit) for unit in cut(index, 2)] == [50, 50]


def test_a_broken_packet_is_expected_of_the_unit_it_stands_in():
    index = steady(60, 12, broken=[11, 30, 59, 59])
    assert [unit.broken for unit in cut(index, 0)] == [1, 0, 1, 0, 2]
    assert [unit.expected(1) for unit in cut(index, 0)] == [13, 12, 13, 12, 14]


@pytest.mark.parametrize("timed", [True, False])
def test_a_file_that_cannot_be_cut_is_one_unit(timed):
    (unit,) = cut(steady(60, 12, timed=timed, cuttable=False), 1)
    assert (unit.first, len(unit), unit.timed) == (0, 60, timed)
