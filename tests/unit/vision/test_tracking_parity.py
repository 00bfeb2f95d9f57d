"""Parity with the ByteTrack of the `trackers` package at equal parameters.

Both see the same detections of scenes whose truth is known; HOTA and IDF1 must be within half a
point of each other in every single scene.
"""

from __future__ import annotations

import importlib.util

import pytest

from carpool.vision.tracking import ByteTrackParameters
from support.tracking_scenes import Scene, crowd, road

if importlib.util.find_spec("trackers") is None:
    pytest.skip("the reference package `trackers` is not installed", allow_module_level=True)

from support.tracking_reference import Tracked, score, track_with_ours, track_with_reference

_TOLERANCE = 0.5

_PARAMETERS = {
    "defaults": ByteTrackParameters(),
    "slow to confirm": ByteTrackParameters(minimum_consecutive_frames=4, lost_track_buffer=60),
    "strict overlap": ByteTrackParameters(minimum_iou_threshold=0.3, frame_rate=25.0),
    "low scores": ByteTrackParameters(
        track_activation_threshold=0.4, high_conf_det_threshold=0.5, lost_track_buffer=10
    ),
}


def _truth(scene: Scene) -> Tracked:
    return Tracked(scene.truth_ids, scene.truth_boxes)


_SCENES = [
    (road, 1, 600, 10),
    (road, 2, 400, 20),
    (road, 3, 300, 30),
    (crowd, 4, 400, 10),
    (crowd, 5, 300, 30),
]


@pytest.mark.parametrize(
    ("kind", "seed", "frames", "objects", "parameters"),
    [
        # The defaults on every scene, other parameters on the two dense ones.
        pytest.param(*scene, parameters, id=f"{scene[0].__name__}-{scene[1]}-{name}")
        for name, parameters in _PARAMETERS.items()
        for scene in (_SCENES if name == "defaults" else _SCENES[2::2])
    ],
)
def test_scores_are_those_of_the_reference(kind, seed, frames, objects, parameters):
    scene = kind(seed, frames, objects)
    ours = score(_truth(scene), track_with_ours(scene.detections, parameters))
    reference = score(_truth(scene), track_with_reference(scene.detections, parameters))
    assert ours.hota == pytest.approx(reference.hota, abs=_TOLERANCE)
    assert ours.idf1 == pytest.approx(reference.idf1, abs=_TOLERANCE)
    # Neither agrees with the other by failing altogether.
    assert reference.hota > 40


def test_an_id_at_once_scores_no_worse_than_the_reference():
    # The reference gives no id in a track's first frame even if one frame is enough.
    parameters = ByteTrackParameters(minimum_consecutive_frames=1)
    scene = road(6, 300, 15)
    ours = score(_truth(scene), track_with_ours(scene.detections, parameters))
    reference = score(_truth(scene), track_with_reference(scene.detections, parameters))
    assert ours.hota > reference.hota - _TOLERANCE
    assert ours.idf1 > reference.idf1 - _TOLERANCE


def test_the_measure_is_perfect_for_the_truth_and_sees_other_parameters():
    scene = road(2, 400, 20)
    truth = _truth(scene)
    perfect = score(truth, truth)
    assert (perfect.hota, perfect.idf1) == pytest.approx((100, 100))
    usual = score(truth, track_with_ours(scene.detections, ByteTrackParameters()))
    hasty = ByteTrackParameters(lost_track_buffer=0)
    forgetful = score(truth, track_with_ours(scene.detections, hasty))
    assert usual.idf1 - forgetful.idf1 > 10 * _TOLERANCE
    assert usual.hota - forgetful.hota > 10 * _TOLERANCE
