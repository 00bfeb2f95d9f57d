from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from carpool.outputs.layout import TABLES
from carpool.outputs.tables import (
    DETECTIONS,
    SCHEMAS,
    TRACKS,
    detections_table,
    rows_of,
    tracks_table,
)

ROWS = np.array(
    [[1, 2, 3, 4, 0.5, 0], [5, 6, 7, 8, 0.25, 2], [9, 10, 11, 12, 1, 7]], dtype=np.float32
)


def three_rows(**changes):
    arguments = {
        "video_uri": "file:///v.mp4",
        "unit_id": "u",
        "frame_index": np.array([3, 3, 9], np.int64),
        "pts_ns": np.array([100, 100, 300], np.int64),
        "rows": ROWS,
        "class_names": ("car", "truck", "bus"),
    }
    return detections_table(**{**arguments, **changes})


def test_the_columns_are_those_that_users_build_on():
    columns = {name: str(DETECTIONS.field(name).type) for name in DETECTIONS.names}

    assert columns == {
        "video_uri": "string",
        "unit_id": "string",
        "frame_index": "int64",
        "pts_ns": "int64",
        "class_id": "int32",
        "class_name": "string",
        "score": "float",
        "x1": "float",
        "y1": "float",
        "x2": "float",
        "y2": "float",
    }
    assert TRACKS.names == [*DETECTIONS.names, "track_id"]
    assert TRACKS.field("track_id").type == pa.int64()
    assert set(SCHEMAS) == set(TABLES)


def test_rows_of_a_task_become_rows_of_the_table():
    table = three_rows()

    assert table.schema == DETECTIONS
    assert table.to_pylist()[1] == {
        "video_uri": "file:///v.mp4",
        "unit_id": "u",
        "frame_index": 3,
        "pts_ns": 100,
        "class_id": 2,
        "class_name": "bus",
        "score": 0.25,
        "x1": 5.0,
        "y1": 6.0,
        "x2": 7.0,
        "y2": 8.0,
    }


def test_a_class_without_a_name_is_named_by_its_number():
    assert three_rows().column("class_name").to_pylist() == ["car", "bus", "7"]


def test_a_unit_without_detections_is_an_empty_table():
    none = np.empty(0, np.int64)

    table = three_rows(frame_index=none, pts_ns=none, rows=np.empty((0, 6), np.float32))

    assert (table.num_rows, table.schema) == (0, DETECTIONS)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": ROWS[:, :5]},
        {"frame_index": np.zeros(2, np.int64)},
        {"pts_ns": np.zeros(4, np.int64)},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes):
    with pytest.raises(ValueError, match="must be"):
        three_rows(**changes)


def test_boxes_come_back_as_the_tracker_takes_them():
    back = rows_of(three_rows())

    assert back.dtype == np.float32
    assert np.array_equal(back, ROWS)


def test_only_rows_with_a_track_are_in_tracks():
    tracks = tracks_table(three_rows(), np.array([4, -1, 0], np.int64))

    assert tracks.schema == TRACKS
    assert tracks.column("track_id").to_pylist() == [4, 0]
    assert tracks.column("class_name").to_pylist() == ["car", "7"]


def test_tracks_need_one_id_for_each_row():
    with pytest.raises(ValueError, match="3 rows"):
        tracks_table(three_rows(), np.zeros(2, np.int64))
