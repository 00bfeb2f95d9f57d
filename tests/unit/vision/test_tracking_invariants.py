"""What holds for any detections whatever, on small hostile scenes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.vision.tracking import ByteTrack, ByteTrackParameters

# Few places, sizes and scores: boxes overlap, tie and come back all the time.
_row = st.tuples(
    st.integers(0, 6), st.integers(0, 3), st.integers(1, 4), st.integers(0, 3), st.integers(0, 1)
).map(
    lambda v: (
        10.0 * v[0],
        10.0 * v[1],
        10.0 * v[0] + 10 * v[2],
        10.0 * v[1] + 20,
        (0.3, 0.65, 0.8, 0.9)[v[3]],
        float(v[4]),
    )
)
_frame = st.lists(_row, max_size=6, unique=True).map(
    lambda rows: np.array(rows, dtype=np.float32).reshape(-1, 6)
)
_video = st.lists(_frame, max_size=25)
_parameters = st.builds(
    ByteTrackParameters,
    minimum_consecutive_frames=st.integers(1, 3),
    lost_track_buffer=st.integers(0, 4),
    minimum_iou_threshold=st.sampled_from([0.01, 0.1, 0.5]),
    class_aware=st.booleans(),
)


def _track(video, parameters) -> list[np.ndarray]:
    tracker = ByteTrack(parameters)
    return [tracker.update(rows) for rows in video]


@given(video=_video, parameters=_parameters)
@settings(max_examples=50, deadline=None)
def test_ids_are_aligned_unique_within_a_frame_and_counted_from_one(video, parameters):
    highest = 0
    for rows, ids in zip(video, _track(video, parameters), strict=True):
        assert ids.shape == (len(rows),)
        given_ids = ids[ids != -1]
        assert len(np.unique(given_ids)) == len(given_ids)
        new = np.sort(given_ids[given_ids > highest])
        assert new.tolist() == list(range(highest + 1, highest + 1 + len(new)))
        highest += len(new)


@given(video=_video, parameters=_parameters)
@settings(max_examples=50, deadline=None)
def test_an_id_never_comes_back_after_the_buffer(video, parameters):
    last_seen: dict[int, int] = {}
    for frame, ids in enumerate(_track(video, parameters)):
        for track_id in ids[ids != -1].tolist():
            gap = frame - last_seen.get(track_id, frame - 1) - 1
            assert gap <= parameters.buffer_frames
            last_seen[track_id] = frame


@given(video=_video, parameters=_parameters, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_rows_of_a_frame_does_not_matter(video, parameters, seed):
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(rows)) for rows in video]
    shuffled = _track([rows[order] for rows, order in zip(video, orders, strict=True)], parameters)
    for ids, order, other in zip(_track(video, parameters), orders, shuffled, strict=True):
        np.testing.assert_array_equal(ids[order], other)


@given(video=_video, parameters=_parameters, data=st.data())
@settings(max_examples=50, deadline=None)
def test_ids_do_not_depend_on_frames_to_come(video, parameters, data):
    cut = data.draw(st.integers(0, len(video)))
    whole = _track(video, parameters)[:cut]
    for ids, other in zip(whole, _track(video[:cut], parameters), strict=True):
        np.testing.assert_array_equal(ids, other)


@given(video=_video, parameters=_parameters, gap=st.integers(0, 7))
@settings(max_examples=50, deadline=None)
def test_a_gap_is_the_same_as_frames_without_rows(video, parameters, gap):
    half = len(video) // 2
    empty = np.empty((0, 6), dtype=np.float32)
    expected = _track([*video[:half], *[empty] * gap, *video[half:]], parameters)
    tracker = ByteTrack(parameters)
    found = [tracker.update(rows) for rows in video[:half]]
    tracker.skip(gap)
    found += [tracker.update(rows) for rows in video[half:]]
    del expected[half : half + gap]
    for ids, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ids, other)


@given(video=_video, parameters=_parameters)
@settings(max_examples=50, deadline=None)
def test_a_class_aware_track_has_one_class(video, parameters):
    classes: dict[int, float] = {}
    for rows, ids in zip(video, _track(video, parameters), strict=True):
        for track_id, class_id in zip(ids.tolist(), rows[:, 5].tolist(), strict=True):
            if track_id != -1 and parameters.class_aware:
                assert classes.setdefault(track_id, class_id) == class_id


@given(
    rows=st.lists(
        st.tuples(*[st.floats(width=32, allow_nan=True, allow_infinity=True)] * 6), max_size=5
    ),
    parameters=_parameters,
)
@settings(max_examples=50, deadline=None)
def test_any_numbers_are_survived(rows, parameters):
    frame = np.array(rows, dtype=np.float32).reshape(-1, 6)
    for ids in _track([frame] * 4, parameters):
        assert ids.shape == (len(frame),)
