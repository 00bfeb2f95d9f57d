from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.outputs.tables import TRACK_SUMMARY, detections_table, tracks_table
from carpool.outputs.track_summary import SummaryBuilder

NAMES = ("car", "truck", "bus")


def tracks(frames, ids, classes=None, scores=None):
    count = len(frames)
    rows = np.zeros((count, 6), np.float32)
    rows[:, 0] = np.arange(count) * 10
    rows[:, 2] = rows[:, 0] + 4
    rows[:, 3] = 8
    rows[:, 4] = 0.5 if scores is None else scores
    rows[:, 5] = 0 if classes is None else classes
    frame_index = np.asarray(frames, np.int64)
    table = detections_table(
        video_uri="v",
        unit_id="u",
        frame_index=frame_index,
        pts_ns=frame_index * 1000,
        rows=rows,
        class_names=NAMES,
    )
    return tracks_table(table, np.asarray(ids, np.int64))


def summary(*parts):
    builder = SummaryBuilder("v")
    for part in parts:
        builder.add(part)
    return builder.finish()


def test_a_track_is_told_by_its_class_its_ends_and_its_mean_score():
    table = summary(tracks([1, 1, 2, 5], [3, 1, 3, 3], classes=[2, 0, 1, 2], scores=[1, 0.5, 0, 0]))

    assert table.schema == TRACK_SUMMARY
    assert table.to_pylist()[1] == {
        "video_uri": "v",
        "track_id": 3,
        "class_id": 2,
        "class_name": "bus",
        "first_frame": 1,
        "last_frame": 5,
        "first_pts_ns": 1000,
        "last_pts_ns": 5000,
        "frames": 3,
        "mean_score": np.float32(1 / 3),
        "first_x": 2.0,
        "first_y": 4.0,
        "last_x": 32.0,
        "last_y": 4.0,
    }
    assert table.column("track_id").to_pylist() == [1, 3]


def test_of_equally_frequent_classes_the_lowest_is_taken():
    table = summary(tracks([1, 2, 3, 4], [0] * 4, classes=[2, 1, 1, 2]))

    assert table.column("class_name").to_pylist() == ["truck"]


def test_a_video_without_tracks_has_an_empty_summary():
    assert summary(tracks([1], [-1])).num_rows == 0
    assert summary().schema == TRACK_SUMMARY


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(0, 2),
            st.floats(0, 1, width=32),
        ),
        max_size=40,
    ),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_a_summary_does_not_depend_on_where_parts_begin(rows, cuts):
    ids, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    whole = tracks(range(len(rows)), ids, classes, scores)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [whole.slice(first, end - first) for first, end in itertools.pairwise(edges)]

    assert summary(*parts).equals(summary(whole))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), st.floats(0, 1, width=32)),
        min_size=1,
        max_size=40,
    )
)
def test_a_summary_agrees_with_counting_by_hand(rows):
    ids, classes, scores = zip(*rows, strict=True)
    table = summary(tracks(range(len(rows)), ids, classes, scores))

    for row in table.to_pylist():
        own = [place for place, track_id in enumerate(ids) if track_id == row["track_id"]]
        counts = [sum(classes[place] == each for place in own) for each in range(3)]
        assert row["frames"] == len(own)
        assert (row["first_frame"], row["last_frame"]) == (own[0], own[-1])
        assert row["class_id"] == counts.index(max(counts))
        assert row["mean_score"] == np.float32(sum(scores[place] for place in own) / len(own))
    assert table.num_rows == len(set(ids))
    assert isinstance(table, pa.Table)
