from __future__ import annotations

import numpy as np
import pytest

from carpool.vision.tracking import ByteTrack, ByteTrackParameters


def _row(x: float, score: float = 0.9, class_id: int = 2, y: float = 100.0) -> list[float]:
    """A box of 40 x 30 pixels whose left side is at `x`."""
    return [x, y, x + 40, y + 30, score, class_id]


def _rows(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(-1, 6)


def _tracker(**parameters) -> ByteTrack:
    return ByteTrack(ByteTrackParameters(**parameters))


def _ids(tracker: ByteTrack, *rows: list[float]) -> list[int]:
    return tracker.update(_rows(*rows)).tolist()


def test_an_object_has_its_id_from_the_second_frame_on():
    tracker = _tracker()
    assert [_ids(tracker, _row(100 + 3 * frame)) for frame in range(5)] == [[-1]] + 4 * [[1]]


def test_an_object_has_its_id_at_once_if_one_frame_is_enough():
    tracker = _tracker(minimum_consecutive_frames=1)
    assert [_ids(tracker, _row(100)) for _ in range(3)] == 3 * [[1]]


def test_confirmation_takes_as_many_frames_in_a_row_as_asked():
    tracker = _tracker(minimum_consecutive_frames=4)
    assert [_ids(tracker, _row(100)) for _ in range(6)] == 3 * [[-1]] + 3 * [[1]]


def test_a_miss_before_confirmation_starts_over():
    tracker = _tracker(minimum_consecutive_frames=3)
    for _ in range(2):
        _ids(tracker, _row(100))
    assert _ids(tracker) == []
    assert len(tracker) == 0
    assert [_ids(tracker, _row(100)) for _ in range(3)] == [[-1], [-1], [1]]


def test_ids_are_aligned_with_the_rows_and_are_64_bit():
    tracker = _tracker()
    near, far = _row(100), _row(400, score=0.8)
    tracker.update(_rows(near, far))
    ids = tracker.update(_rows(far, near))
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 1]
    assert _ids(tracker, near, _row(700), far) == [1, -1, 2]


def test_ids_count_in_the_order_of_confirmation():
    tracker = _tracker()
    first, second, third = _row(100), _row(300), _row(500)
    _ids(tracker, first)
    assert _ids(tracker, first, third) == [1, -1]
    assert _ids(tracker, first, second, third) == [1, -1, 2]
    assert _ids(tracker, first, second, third) == [1, 3, 2]


def test_of_tracks_confirmed_together_the_higher_score_counts_first():
    tracker = _tracker()
    rows = [_row(100, 0.75), _row(300, 0.95), _row(500, 0.85)]
    _ids(tracker, *rows)
    assert _ids(tracker, *rows) == [3, 1, 2]


def test_a_low_score_never_begins_a_track():
    tracker = _tracker()
    assert [_ids(tracker, _row(100, score=0.69)) for _ in range(5)] == 5 * [[-1]]
    assert len(tracker) == 0


def test_activation_below_the_high_threshold_does_not_let_low_rows_begin_tracks():
    tracker = _tracker(track_activation_threshold=0.2, high_conf_det_threshold=0.6)
    assert [_ids(tracker, _row(100, score=0.5)) for _ in range(3)] == 3 * [[-1]]


def test_a_low_score_carries_a_track_on():
    tracker = _tracker(lost_track_buffer=2)
    for _ in range(3):
        _ids(tracker, _row(100))
    assert [_ids(tracker, _row(100, score=0.15)) for _ in range(10)] == 10 * [[1]]


def test_a_high_score_goes_before_a_low_one_that_overlaps_more():
    tracker = _tracker()
    for _ in range(3):
        _ids(tracker, _row(100))
    assert _ids(tracker, _row(100, score=0.3), _row(110, score=0.9)) == [-1, 1]


def test_a_score_exactly_at_a_threshold_counts_as_high():
    tracker = _tracker(track_activation_threshold=0.7, high_conf_det_threshold=0.7)
    assert [_ids(tracker, _row(100, score=0.7)) for _ in range(2)] == [[-1], [1]]


@pytest.mark.parametrize(("missed", "found_again"), [(1, True), (5, True), (6, False)])
def test_a_track_outlasts_the_buffer_and_not_more(missed, found_again):
    tracker = _tracker(lost_track_buffer=5)
    for _ in range(3):
        _ids(tracker, _row(100))
    for _ in range(missed):
        _ids(tracker)
    assert _ids(tracker, _row(100)) == ([1] if found_again else [-1])


def test_a_buffer_of_none_ends_a_track_at_its_first_miss():
    tracker = _tracker(lost_track_buffer=0)
    for _ in range(3):
        _ids(tracker, _row(100))
    _ids(tracker)
    assert len(tracker) == 0


def test_a_hidden_object_is_expected_where_its_motion_leads():
    tracker = _tracker()
    for frame in range(20):
        _ids(tracker, _row(100 + 8 * frame))
    for _ in range(9):
        _ids(tracker)
    # 72 pixels on: no overlap with where it was last seen.
    assert _ids(tracker, _row(100 + 8 * 29)) == [1]


def test_the_class_is_ignored_unless_asked_for():
    tracker = _tracker()
    for frame in range(2):
        _ids(tracker, _row(100, class_id=frame))
    assert _ids(tracker, _row(100, class_id=7)) == [1]


def test_a_class_aware_track_takes_its_own_class_only():
    tracker = _tracker(class_aware=True)
    car, truck = _row(100, class_id=2), _row(100, score=0.8, class_id=7)
    for _ in range(2):
        _ids(tracker, car)
    assert _ids(tracker, truck) == [-1]
    assert _ids(tracker, truck, car) == [2, 1]
    assert _ids(tracker, _row(100, score=0.2, class_id=5)) == [-1]


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan, 100, 140, 130, 0.9, 2],
        [100, 100, np.inf, 130, 0.9, 2],
        [100, 100, 140, 130, np.nan, 2],
        [140, 100, 100, 130, 0.9, 2],
        [100, 100, 100, 130, 0.9, 2],
    ],
)
def test_a_row_that_cannot_be_tracked_does_no_harm(bad):
    tracker = _tracker()
    results = [_ids(tracker, bad, _row(100), bad) for _ in range(3)]
    assert results == [[-1, -1, -1], [-1, 1, -1], [-1, 1, -1]]
    assert len(tracker) == 1


def test_the_rows_given_are_left_as_they_are():
    tracker = _tracker()
    rows = _rows(_row(100), _row(300))
    rows.flags.writeable = False
    tracker.update(rows)
    assert tracker.update(rows).tolist() == [1, 2]


def test_frames_without_rows_give_no_ids():
    tracker = _tracker()
    ids = tracker.update(np.empty((0, 6), dtype=np.float32))
    assert ids.shape == (0,)
    assert ids.dtype == np.int64


@pytest.mark.parametrize("shape", [(6,), (2, 5), (1, 2, 6)])
def test_rows_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(k, 6\)"):
        _tracker().update(np.zeros(shape, dtype=np.float32))


def test_a_gap_beyond_the_buffer_ends_all_tracks():
    tracker = _tracker(lost_track_buffer=30)
    for _ in range(3):
        _ids(tracker, _row(100))
    tracker.skip(31)
    assert len(tracker) == 0


def test_a_gap_of_a_billion_frames_costs_nothing():
    tracker = _tracker()
    for _ in range(3):
        _ids(tracker, _row(100))
    tracker.skip(1_000_000_000)
    # Ids go on where they stood.
    assert [_ids(tracker, _row(100)) for _ in range(2)] == [[-1], [2]]


def test_a_negative_gap_is_refused():
    with pytest.raises(ValueError, match="expected 0 or more"):
        _tracker().skip(-1)
