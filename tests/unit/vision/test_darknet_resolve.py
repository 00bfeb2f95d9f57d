from __future__ import annotations

import pytest

from carpool.errors import ModelFormatError, ModelNotFound, SpecError
from carpool.vision.darknet.handler import DarknetDetector
from carpool.vision.darknet.resolve import complete_parameters, darknet_files
from support.darknet_cfgs import ALL_LAYERS_CFG


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "all.cfg"
    path.write_text(ALL_LAYERS_CFG)
    return path


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "all.names"
    path.write_bytes(b"car\r\ntraffic light\r\n\r\n")
    return path


@pytest.mark.parametrize(
    ("uri", "parameters", "weights", "names"),
    [
        ("/m/yolo.cfg", {}, "/m/yolo.weights", "/m/yolo.names"),
        ("yolo.cfg", {}, "yolo.weights", "yolo.names"),
        ("m/yolo-1.1.cfg", {}, "m/yolo-1.1.weights", "m/yolo-1.1.names"),
        ("s3://b/m/yolo.cfg", {}, "s3://b/m/yolo.weights", "s3://b/m/yolo.names"),
        ("file:///m/yolo.cfg", {}, "file:///m/yolo.weights", "file:///m/yolo.names"),
        ("/m/yolo.cfg", {"names": "coco.names"}, "/m/yolo.weights", "/m/coco.names"),
        ("yolo.cfg", {"weights": "w/a.weights"}, "w/a.weights", "yolo.names"),
        ("s3://b/m/y.cfg", {"names": "../coco.names"}, "s3://b/m/y.weights", "s3://b/coco.names"),
        ("s3://b/y.cfg", {"weights": "https://h/w"}, "https://h/w", "s3://b/y.names"),
        ("m/y.cfg", {"weights": "/w/y", "names": None}, "/w/y", "m/y.names"),
    ],
)
def test_files_stand_beside_the_cfg_or_where_a_parameter_says(uri, parameters, weights, names):
    assert darknet_files(uri, parameters) == {"weights": weights, "names": names}


def test_no_names_file_is_needed_where_the_job_gives_the_names():
    assert darknet_files("y.cfg", {"classNames": ["car"]}) == {"weights": "y.weights"}
    named = {"classNames": ["car"], "names": "n"}
    assert darknet_files("y.cfg", named) == {"weights": "y.weights", "names": "n"}


@pytest.mark.parametrize("value", [7, "", ["a"]])
def test_a_file_parameter_that_is_no_text_is_refused(value):
    with pytest.raises(SpecError, match=r"parameters\.weights: found .*, expected a path relative"):
        darknet_files("y.cfg", {"weights": value})


def test_what_the_files_say_is_filled_in(cfg, names):
    given = {"scoreThreshold": 0.5, "names": "all.names", "classes": None}
    found = complete_parameters(cfg, names, given)
    assert found == {
        "scoreThreshold": 0.5,
        "names": "all.names",
        "inputSize": [64, 32],
        "classNames": ["car", "traffic light"],
    }
    assert DarknetDetector(found).input_shape == (64, 32, 3)
    assert given == {"scoreThreshold": 0.5, "names": "all.names", "classes": None}


def test_what_the_job_says_stays(cfg, names):
    given = {"inputSize": 96, "classNames": ["a", "b"], "resize": "Stretch"}
    assert complete_parameters(cfg, names, given) == {**given, "inputSize": [96, 96]}


@pytest.mark.parametrize(
    ("given", "resize"), [({}, "Letterbox"), ({"resize": "Stretch"}, "Stretch")]
)
def test_the_cfg_may_ask_for_letterboxed_frames(cfg, names, given, resize):
    cfg.write_text(ALL_LAYERS_CFG.replace("batch=1\n", "letter_box=1\n"))
    assert complete_parameters(cfg, names, given)["resize"] == resize


def test_an_input_size_that_the_network_cannot_have_is_found_here(cfg, names):
    with pytest.raises(ModelFormatError, match=r"all\.cfg:\d+: \[route\] layers: found .* 32\?"):
        complete_parameters(cfg, names, {"inputSize": 68})
    with pytest.raises(SpecError, match=r"parameters\.inputSize: found 'big'"):
        complete_parameters(cfg, names, {"inputSize": "big"})


def test_a_number_of_names_that_is_not_that_of_the_classes_is_refused(cfg, names):
    names.write_text("car\nbus\ntruck\n")
    expected = "found 3 names, expected 2 names for classes=2 of all.cfg"
    with pytest.raises(ModelFormatError) as caught:
        complete_parameters(cfg, names, {})
    assert str(caught.value) == f"all.names: {expected}"
    with pytest.raises(SpecError) as wrong:
        complete_parameters(cfg, None, {"classNames": ["a", "b", "c"]})
    assert str(wrong.value) == f"spec.model.parameters.classNames: {expected}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"car\n\nbus\n", "all.names:2: found an empty line, expected a class name, each once"),
        (b"car\ncar \n", "all.names:2: found 'car' again, expected a class name, each once"),
        (b"\xff\xfe\x00", "all.names: is no text, expected a class name a line"),
        (b"", "all.names: found 0 names, expected 2 names for classes=2 of all.cfg"),
    ],
)
def test_a_malformed_names_file_is_refused(cfg, names, content, message):
    names.write_bytes(content)
    with pytest.raises(ModelFormatError) as caught:
        complete_parameters(cfg, names, {})
    assert str(caught.value) == message


def test_absent_names_are_asked_for(cfg, tmp_path):
    with pytest.raises(ModelNotFound, match=r"name it in spec\.model\.parameters\.names, or give"):
        complete_parameters(cfg, tmp_path / "none.names", {})
    with pytest.raises(SpecError, match="classNames: is missing, and no names file is given"):
        complete_parameters(cfg, None, {})
