from __future__ import annotations

import pytest

from carpool.errors import SpecError
from carpool.vision.detector_parameters import DetectorParameters

NAMES = ["person", "car", "bus"]
GIVEN = {"inputSize": 416, "classNames": NAMES}


def test_reads_every_parameter():
    read = DetectorParameters.from_mapping(
        {
            "inputSize": [384, 640],
            "resize": "Letterbox",
            "scoreThreshold": 0.4,
            "iouThreshold": 1,
            "classNames": NAMES,
            "classes": ["bus", "car"],
        }
    )
    assert read == DetectorParameters(
        input_size=(384, 640),
        resize="Letterbox",
        score_threshold=0.4,
        iou_threshold=1.0,
        class_names=("person", "car", "bus"),
        classes=("bus", "car"),
    )
    assert read.class_ids == frozenset({1, 2})


def test_what_is_not_given_has_a_default():
    read = DetectorParameters.from_mapping(GIVEN)
    assert read.input_size == (416, 416)
    assert read.resize == "Stretch"
    assert (read.score_threshold, read.iou_threshold) == (0.25, 0.45)
    assert read.classes is None
    assert read.class_ids is None


def test_the_job_wins_over_the_handlers_defaults():
    defaults = {"inputSize": 320, "scoreThreshold": 0.1, "classNames": NAMES, "classes": None}
    read = DetectorParameters.from_mapping({"scoreThreshold": 0.9}, defaults=defaults)
    assert (read.input_size, read.score_threshold) == ((320, 320), 0.9)
    assert read.classes is None


def test_null_counts_as_absent():
    read = DetectorParameters.from_mapping({**GIVEN, "scoreThreshold": None, "classes": None})
    assert read == DetectorParameters.from_mapping(GIVEN)


def test_a_whole_number_may_be_written_as_a_float():
    assert DetectorParameters.from_mapping({**GIVEN, "inputSize": 416.0}).input_size == (416, 416)


def test_names_that_the_handler_declares_are_let_through():
    with pytest.raises(SpecError, match=r"parameters\.weights: is not a parameter"):
        DetectorParameters.from_mapping({**GIVEN, "weights": "a.weights"})
    read = DetectorParameters.from_mapping({**GIVEN, "weights": "a.weights"}, extra=["weights"])
    assert read == DetectorParameters.from_mapping(GIVEN)


@pytest.mark.parametrize("missing", ["inputSize", "classNames"])
def test_what_has_no_default_must_be_given(missing):
    given = {name: value for name, value in GIVEN.items() if name != missing}
    with pytest.raises(SpecError, match=rf"^spec\.model\.parameters\.{missing}: is missing"):
        DetectorParameters.from_mapping(given)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("inputSize", 0, "0"),
        ("inputSize", 10_000, "10000"),
        ("inputSize", 416.5, "416.5"),
        ("inputSize", True, "True"),
        ("inputSize", "416", "'416'"),
        ("inputSize", [416], "[416]"),
        ("inputSize", [416, 416, 3], "[416, 416, 3]"),
        ("inputSize", [416, -1], "[416, -1]"),
        ("inputSize", {"height": 1}, "{'height': 1}"),
        ("resize", "letterbox", "'letterbox'"),
        ("resize", ["Stretch"], "['Stretch']"),
        ("scoreThreshold", -0.1, "-0.1"),
        ("scoreThreshold", float("nan"), "nan"),
        ("scoreThreshold", "0.5", "'0.5'"),
        ("iouThreshold", 1.01, "1.01"),
        ("iouThreshold", False, "False"),
        ("classNames", [], "[]"),
        ("classNames", "car", "'car'"),
        ("classNames", ["car", 3], "3"),
        ("classNames", ["car", " "], "' '"),
        ("classNames", ["car", "car"], "'car'"),
        ("classes", ["tram"], "'tram'"),
        ("classes", [], "[]"),
        ("classes", "car", "'car'"),
        ("classes", ["car", "car"], "'car'"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_found_and_expected(name, value, found):
    with pytest.raises(SpecError) as refused:
        DetectorParameters.from_mapping({**GIVEN, name: value})
    message = str(refused.value)
    assert message.startswith(f"spec.model.parameters.{name}: found {found}, expected ")


def test_long_values_are_shortened_in_messages():
    with pytest.raises(SpecError) as refused:
        DetectorParameters.from_mapping({**GIVEN, "resize": "x" * 1000})
    assert len(str(refused.value)) < 200
