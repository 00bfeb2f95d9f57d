from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from carpool.errors import HandlerError, ModelError, ModelFormatError, ModelNotFound, SpecError
from carpool.vision.darknet.cfg import parse_network
from carpool.vision.darknet.handler import DarknetDetector
from carpool.vision.darknet.random_weights import random_weights
from carpool.vision.darknet.weights import write_weights
from carpool.vision.handler import LoadContext, handler_class
from support.darknet_cfgs import ALL_LAYERS_CFG
from support.darknet_reference import greedy, propose

PARAMETERS = {
    "inputSize": [64, 32],
    "classNames": ["car", "bus"],
    "scoreThreshold": 0.008,
    "iouThreshold": 0.3,
    "weights": "elsewhere.weights",
}


DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)]


@pytest.fixture
def device():
    return "cpu"


@pytest.fixture
def context(tmp_path, device):
    cfg, weights = tmp_path / "all.cfg", tmp_path / "all.weights"
    cfg.write_text(ALL_LAYERS_CFG)
    write_weights(weights, random_weights(parse_network(ALL_LAYERS_CFG, "all.cfg"), seed=5))
    return LoadContext(
        device=device, precision="Float32", model_path=cfg, max_batch=4, files={"weights": weights}
    )


def replaced(context, **values):
    fields = ("device", "precision", "model_path", "max_batch", "files")
    return LoadContext(**{name: getattr(context, name) for name in fields} | values)


def detect(context, batch, **parameters):
    import torch

    detector = DarknetDetector({**PARAMETERS, **parameters})
    torch.backends.cudnn.allow_tf32 = False  # compared with numpy
    detector.load(context)
    return [rows.numpy() for rows in detector.predict(torch.from_numpy(batch).to(context.device))]


@pytest.fixture
def batch():
    return np.random.default_rng(17).integers(0, 256, (4, 64, 32, 3), dtype=np.uint8)


def in_order_of(expected, rows):
    """The rows in the order of those expected: a GPU may swap scores that are next to equal."""
    nearest = [int(np.abs(rows - row).max(axis=1).argmin()) for row in np.asarray(expected)]
    assert sorted(nearest) == list(range(len(rows)))
    return rows[nearest]


def test_importing_and_building_it_needs_no_torch():
    program = f"""
import sys
import carpool.vision.darknet.resolve
from carpool.vision.handler import handler_class
handler = handler_class("carpool.vision.darknet.handler:DarknetDetector")({PARAMETERS!r})
assert handler.input_shape == (64, 32, 3), handler.input_shape
assert handler.class_names == ("car", "bus"), handler.class_names
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_it_is_found_by_its_reference():
    assert handler_class("carpool.vision.darknet.handler:DarknetDetector") is DarknetDetector


@pytest.mark.torch
@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_those_of_a_second_implementation_best_first(context, batch):
    for rows, image in zip(detect(context, batch), batch, strict=True):
        boxes = propose(ALL_LAYERS_CFG, context.files["weights"], image)
        expected = greedy(boxes, 0.008, 0.3)
        assert rows.dtype == np.float32
        # Some pass and some do not, or this test would show nothing.
        assert 5 < len(expected) < sum(box.score > 0.008 for box in boxes) < len(boxes)
        assert (np.diff(rows[:, 4]) <= 0).all()
        np.testing.assert_allclose(in_order_of(expected, rows), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.torch
@pytest.mark.parametrize("device", DEVICES)
def test_classes_that_are_not_wanted_are_dropped_before_the_limit_of_rows(
    context, batch, monkeypatch
):
    buses = [rows[rows[:, 5] == 1] for rows in detect(context, batch)]
    assert all(len(rows) > 0 for rows in buses)
    for rows, expected in zip(detect(context, batch, classes=["bus"]), buses, strict=True):
        np.testing.assert_array_equal(rows, expected)
    monkeypatch.setattr(DarknetDetector, "output_rows", 2)
    for rows, expected in zip(detect(context, batch, classes=["bus"]), buses, strict=True):
        np.testing.assert_array_equal(rows, expected[:2])


@pytest.mark.torch
@pytest.mark.parametrize("device", DEVICES)
def test_a_frame_without_a_box_gives_rows_of_the_right_width(context, batch):
    assert [rows.shape for rows in detect(context, batch, scoreThreshold=1.0)] == [(0, 6)] * 4


@pytest.mark.torch
def test_the_batch_is_not_written_to(context, batch):
    before = batch.copy()
    detect(context, batch)
    np.testing.assert_array_equal(batch, before)


@pytest.mark.parametrize("resize", ["Stretch", "Letterbox"])
def test_boxes_come_back_in_pixels_of_the_frame(resize):
    detector = DarknetDetector({**PARAMETERS, "resize": resize})
    frame = np.zeros((128, 96, 3), np.uint8)
    frame[32:64, 24:48] = 255
    slot = np.empty(detector.input_shape, np.uint8)
    placement = detector.preprocess(frame, slot)
    lit_y, lit_x = np.nonzero(slot[..., 0] > 200)
    row = [lit_x.min(), lit_y.min(), lit_x.max() + 1, lit_y.max() + 1, 0.5, 1]
    found = detector.postprocess(np.array([row], np.float32), placement)
    np.testing.assert_allclose(found, [[24, 32, 48, 64, 0.5, 1]], atol=3)


@pytest.mark.torch
@pytest.mark.parametrize("device", DEVICES)
def test_other_precisions_are_honoured(context, batch):
    single, brain = (
        detect(replaced(context, precision=precision), batch, scoreThreshold=0.0)
        for precision in ("Float32", "BFloat16")
    )
    assert all(rows.dtype == np.float32 for rows in brain)
    assert not all(np.array_equal(a, b) for a, b in zip(single, brain, strict=True))
    assert abs(single[0][0, 4] - brain[0][0, 4]) < 0.05


@pytest.mark.torch
def test_an_unknown_precision_is_refused(context):
    with pytest.raises(
        ModelError, match=r"spec\.model\.precision: found 'Int4', expected one of Auto"
    ):
        DarknetDetector(PARAMETERS).load(replaced(context, precision="Int4"))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_path": None}, "a Darknet model needs a .cfg (spec.model.uri)"),
        ({"files": {}}, "a Darknet model needs a .weights file"),
    ],
)
def test_a_file_that_was_not_given_is_named(context, changes, message):
    with pytest.raises(ModelNotFound) as caught:
        DarknetDetector(PARAMETERS).load(replaced(context, **changes))
    assert str(caught.value) == f"{message}, and none was given to the host"


@pytest.mark.torch
def test_another_number_of_classes_is_refused(context):
    detector = DarknetDetector({**PARAMETERS, "classNames": ["car"]})
    with pytest.raises(ModelFormatError) as caught:
        detector.load(context)
    assert str(caught.value) == ("all.cfg: found classes=2, expected 1, the number of class names")


def test_predict_before_load_is_an_error():
    with pytest.raises(HandlerError, match="before load"):
        DarknetDetector(PARAMETERS).predict(None)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(SpecError, match=r"parameters\.scoreTreshold: is not a parameter"):
        DarknetDetector({**PARAMETERS, "scoreTreshold": 0.3})
