from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import SpecError
from carpool.vision.tracking import ByteTrackParameters


def test_absent_parameters_are_defaults():
    assert ByteTrackParameters.from_mapping({}) == ByteTrackParameters()


def test_every_parameter_is_read_by_its_camel_case_name():
    given_values: dict[str, Any] = {
        "trackActivationThreshold": 0.5,
        "highConfDetThreshold": 0.4,
        "minimumIouThreshold": 0.3,
        "minimumConsecutiveFrames": 5,
        "lostTrackBuffer": 60,
        "frameRate": 12.5,
        "classAware": True,
    }
    assert ByteTrackParameters.from_mapping(given_values) == ByteTrackParameters(
        track_activation_threshold=0.5,
        high_conf_det_threshold=0.4,
        minimum_iou_threshold=0.3,
        minimum_consecutive_frames=5,
        lost_track_buffer=60,
        frame_rate=12.5,
        class_aware=True,
    )
    assert len(given_values) == len(fields(ByteTrackParameters))


def test_names_and_defaults_are_those_of_the_reference():
    trackers = pytest.importorskip("trackers", reason="the reference package is not installed")
    reference = inspect.signature(trackers.ByteTrackTracker).parameters
    ours = {field.name: field.default for field in fields(ByteTrackParameters)}
    shared = set(ours) & set(reference)
    assert set(ours) - shared == {"class_aware"}
    # Ours takes the rate from the video where the job gives none.
    for name in shared - {"frame_rate"}:
        assert reference[name].default == ours[name], name


def test_null_counts_as_absent():
    parameters = ByteTrackParameters.from_mapping({"lostTrackBuffer": None, "frameRate": None})
    assert parameters == ByteTrackParameters()


def test_a_whole_number_may_be_written_as_a_float():
    parameters = ByteTrackParameters.from_mapping({"lostTrackBuffer": 45.0})
    assert parameters.lost_track_buffer == 45
    assert isinstance(parameters.lost_track_buffer, int)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("trackActivationThreshold", 1.01, "a number from 0 to 1"),
        ("trackActivationThreshold", "0.5", "a number from 0 to 1"),
        ("trackActivationThreshold", True, "a number from 0 to 1"),
        ("trackActivationThreshold", float("nan"), "a number from 0 to 1"),
        ("highConfDetThreshold", -0.1, "a number from 0 to 1"),
        ("minimumIouThreshold", 0, "a number above 0, up to 1"),
        ("minimumConsecutiveFrames", 0, "an integer from 1 to 1000"),
        ("minimumConsecutiveFrames", 2.5, "an integer from 1 to 1000"),
        ("minimumConsecutiveFrames", True, "an integer from 1 to 1000"),
        ("lostTrackBuffer", -1, "an integer from 0 to 10000"),
        ("lostTrackBuffer", float("inf"), "an integer from 0 to 10000"),
        ("lostTrackBuffer", [30], "an integer from 0 to 10000"),
        ("frameRate", 0, "a number above 0, up to 1000"),
        ("frameRate", float("inf"), "a number above 0, up to 1000"),
        ("classAware", "yes", "true or false"),
        ("classAware", 1, "true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_field_value_and_expectation(name, value, expected):
    with pytest.raises(SpecError) as caught:
        ByteTrackParameters.from_mapping({name: value})
    assert str(caught.value) == (
        f"spec.tracking.parameters.{name}: found {value!r}, expected {expected}"
    )


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(SpecError) as caught:
        ByteTrackParameters.from_mapping({"lostTrackBufer": 30})
    message = str(caught.value)
    assert message.startswith("spec.tracking.parameters.lostTrackBufer: ")
    assert message.endswith("(is lostTrackBuffer meant?)")
    assert "minimumIouThreshold" in message


def test_a_name_in_snake_case_is_unknown():
    with pytest.raises(SpecError, match=r"parameters\.frame_rate: is not a parameter"):
        ByteTrackParameters.from_mapping({"frame_rate": 30})


def test_a_long_wrong_value_is_shown_shortened():
    with pytest.raises(SpecError) as caught:
        ByteTrackParameters.from_mapping({"frameRate": "x" * 10_000})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("buffer", "rate", "frames"),
    [(30, None, 30), (30, 30.0, 30), (30, 25.0, 25), (30, 29.97, 30), (30, 10.0, 10), (1, 5.0, 1)],
)
def test_the_buffer_is_scaled_to_the_frame_rate(buffer, rate, frames):
    parameters = ByteTrackParameters(lost_track_buffer=buffer, frame_rate=rate)
    assert parameters.buffer_frames == frames


@given(rate=st.floats(0.01, 1000))
@settings(max_examples=20)
def test_a_buffer_of_none_stays_none_at_any_rate(rate):
    assert ByteTrackParameters(lost_track_buffer=0, frame_rate=rate).buffer_frames == 0


def test_the_rate_of_the_video_fills_in_for_the_job():
    assert ByteTrackParameters().for_video(25.0).buffer_frames == 25
    assert ByteTrackParameters(frame_rate=10.0).for_video(25.0).buffer_frames == 10


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 90_000.0])
def test_a_rate_that_no_video_has_is_ignored(rate):
    assert ByteTrackParameters().for_video(rate) == ByteTrackParameters()
