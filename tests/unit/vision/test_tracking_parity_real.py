"""Parity with the `trackers` package on what real networks see in a real clip.

There is no truth for this clip, so no score of either tracker can be had, only how far the two are
from each other: HOTA and IDF1 of one result with the other as truth. That says what half a point
of difference would say. Let both give n ids to the same detections and agree on m of them, which
makes their IDF1 m / n. Whatever the truth is, an identity of ours that is right on some rows is
right on as many of the reference's, but for the n - m rows where the two part; so against a truth
of at least n boxes their IDF1 differs by no more than 1 - m / n. An agreement of 99.5 points
therefore keeps the IDF1 of both within half a point. For HOTA there is no such simple bound; there
the same agreement is asked for as a measure of its own.
"""

from __future__ import annotations

import importlib.util

import pytest

from carpool.vision.tracking import ByteTrackParameters
from support.real_clip import FRAME_RATE, real_detections, reference_detections

if importlib.util.find_spec("trackers") is None:
    pytest.skip("the reference package `trackers` is not installed", allow_module_level=True)

from support.tracking_reference import agreement, track_with_ours, track_with_reference

pytestmark = pytest.mark.data

_LEAST_AGREEMENT = 99.5

_PARAMETERS = pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(ByteTrackParameters(), id="defaults"),
        # The network is small and sure of little: with these most of what it finds is tracked.
        pytest.param(
            ByteTrackParameters(
                track_activation_threshold=0.4,
                high_conf_det_threshold=0.35,
                minimum_iou_threshold=0.2,
            ),
            id="eager",
        ),
    ],
)


def _check(detections, parameters):
    ours = track_with_ours(detections, parameters)
    reference = track_with_reference(detections, parameters)
    assert ours.tracks() >= 10
    assert sum(map(len, ours.ids)) == pytest.approx(sum(map(len, reference.ids)), rel=0.005)
    for scores in (agreement(reference, ours), agreement(ours, reference)):
        assert scores.hota >= _LEAST_AGREEMENT
        assert scores.idf1 >= _LEAST_AGREEMENT


@_PARAMETERS
def test_tracks_of_every_tenth_frame_are_those_of_the_reference(parameters):
    _check(reference_detections(), parameters.for_video(FRAME_RATE / 10))


@pytest.mark.torch
@pytest.mark.slow
@_PARAMETERS
def test_tracks_of_our_own_detections_are_those_of_the_reference(parameters):
    # Every third frame: all vehicles of the clip at a third of the cost of the network.
    detections = real_detections(every=3)
    assert len(detections) == 302
    _check(detections, parameters.for_video(FRAME_RATE / 3))


def test_the_agreement_sees_other_parameters():
    detections = reference_detections()
    patient = ByteTrackParameters(track_activation_threshold=0.4)
    hasty = ByteTrackParameters(track_activation_threshold=0.4, lost_track_buffer=1)
    scores = agreement(
        track_with_ours(detections, patient), track_with_reference(detections, hasty)
    )
    assert scores.idf1 < _LEAST_AGREEMENT - 1
    assert scores.hota < _LEAST_AGREEMENT - 1
