"""Exported detectors: the same rows as the network they were exported from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from carpool.errors import (
    HandlerError,
    ModelError,
    ModelFormatError,
    ModelNotFound,
    ModelUnsafe,
    SpecError,
)
from carpool.vision.handler import LoadContext
from carpool.vision.torch.detector import Detector
from carpool.vision.torch.yolo_decode import Candidates
from carpool.vision.torch_export.handler import ExportedDetector
from carpool.vision.torch_export.resolve import complete_parameters
from support.pt2_archives import (
    CLASS_NAMES,
    CONFIGS,
    PROGRAM,
    SIDE,
    any_batch,
    changed,
    entries,
    in_json,
    save,
    tiny_detector,
)

pytestmark = pytest.mark.torch

PARAMETERS = {"classNames": list(CLASS_NAMES), "scoreThreshold": 0.5, "iouThreshold": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pt2")


@pytest.fixture(scope="module")
def archive(folder) -> Path:
    return save(
        tiny_detector(),
        folder / "any.pt2",
        dynamic=any_batch(),
        extra_files={"names": "car\nbus\ntruck\n", "readme.txt": "ours"},
    )


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(5).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)


def loaded(path: Path, parameters=PARAMETERS, *, precision: str = "Auto") -> ExportedDetector:
    detector = ExportedDetector(complete_parameters(path, parameters).parameters)
    detector.load(LoadContext(device="cpu", precision=precision, model_path=path, max_batch=8))
    return detector


class Eager(nn.Module):
    """The network as it is, with boxes and scores read by hand."""

    def forward(self, batch: torch.Tensor) -> Candidates:
        boxes, scores = tiny_detector()(batch.flip(3).permute(0, 3, 1, 2) / 255.0)
        best, classes = scores.max(dim=2)
        return Candidates(boxes, best, classes)


def eager_rows(frames) -> list[np.ndarray]:
    detector = Detector(
        Eager(),
        device=torch.device("cpu"),
        classes=3,
        class_ids=None,
        score_threshold=0.5,
        iou_threshold=0.4,
        max_rows=300,
    )
    return [rows.numpy() for rows in detector(torch.from_numpy(frames))]


def assert_same(found, expected, tolerance: float = 1e-4) -> None:
    assert sum(map(len, expected)) > 20
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, atol=tolerance, rtol=0)


def test_rows_are_those_of_the_network_that_was_exported(archive, frames):
    assert_same(loaded(archive).predict(torch.from_numpy(frames)), eager_rows(frames))


def test_one_tensor_as_yolov8_gives_it_is_the_same_detector(folder, frames):
    path = save(tiny_detector(combined=True), folder / "combined.pt2", dynamic=any_batch())
    assert_same(loaded(path).predict(torch.from_numpy(frames)), eager_rows(frames))


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_fixed_batch_is_split_and_padded_to(size, folder, frames):
    path = save(tiny_detector(), folder / f"{size}.pt2", images=torch.zeros(size, 3, SIDE, SIDE))
    assert complete_parameters(path, PARAMETERS).max_batch == size
    for count in (1, len(frames)):
        found = loaded(path).predict(torch.from_numpy(frames[:count]))
        assert_same([*found, *eager_rows(frames)[count:]], eager_rows(frames))


def test_a_bounded_batch_is_split_and_padded_to(folder, frames):
    path = save(tiny_detector(), folder / "bounded.pt2", dynamic=any_batch(2, 3))
    assert complete_parameters(path, PARAMETERS).max_batch is None
    assert_same(loaded(path).predict(torch.from_numpy(frames)), eager_rows(frames))


def test_driver_learns_input_size_and_class_names_from_the_archive(archive):
    model = complete_parameters(archive, {"scoreThreshold": 0.4, "classes": None})
    assert model.parameters == {
        "inputSize": [SIDE, SIDE],
        "classNames": ["car", "bus", "truck"],
        "scoreThreshold": 0.4,
    }
    assert ExportedDetector(model.parameters).input_shape == (SIDE, SIDE, 3)


def test_a_given_size_must_be_the_programs(archive):
    with pytest.raises(
        SpecError, match=r"inputSize: found \[64, 64\], and any\.pt2 takes height 32"
    ):
        complete_parameters(archive, {"inputSize": 64})


def test_a_size_that_is_free_must_be_given(folder):
    class Mean(nn.Module):
        def forward(self, images):
            middle = images.mean(dim=(2, 3)).unsqueeze(1)
            return torch.cat([middle, middle[..., :1]], dim=2), middle

    free = ({0: torch.export.Dim("n"), 2: torch.export.Dim("h", max=96), 3: torch.export.Dim("w")},)
    path = save(Mean(), folder / "free.pt2", dynamic=free)
    with pytest.raises(SpecError, match=r"inputSize: is missing, and free\.pt2 takes"):
        complete_parameters(path, PARAMETERS)
    with pytest.raises(SpecError, match=r"inputSize: found \[128, 64\]"):
        complete_parameters(path, {**PARAMETERS, "inputSize": [128, 64]})
    detector = loaded(path, {**PARAMETERS, "inputSize": [64, 48]})
    assert len(detector.predict(torch.zeros(3, 64, 48, 3, dtype=torch.uint8))) == 3


def test_missing_class_names_are_asked_for(folder):
    path = save(tiny_detector(), folder / "nameless.pt2", dynamic=any_batch())
    with pytest.raises(SpecError, match=r"classNames: is missing, and nameless\.pt2 has no"):
        complete_parameters(path, {})


def test_class_names_of_another_number_are_refused(archive):
    with pytest.raises(ModelFormatError, match=r"any\.pt2: scores 3 classes, and there are 2"):
        complete_parameters(archive, {"classNames": ["a", "b"]})


def test_what_is_no_detector_says_what_it_takes_and_gives(folder):
    class Classifier(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3))

    path = save(Classifier(), folder / "classifier.pt2", dynamic=any_batch())
    with pytest.raises(
        ModelFormatError,
        match=r"classifier\.pt2: takes float32 \[1\.\.64, 3, 32, 32\] and gives float32 "
        r"\[1\.\.64, 3\]; expected one input of float \[n, 3, h, w\]",
    ):
        complete_parameters(path, PARAMETERS)


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_a_float32_program_computes_in_the_precision_asked_for(precision, archive, frames):
    found = loaded(archive, precision=precision).predict(torch.from_numpy(frames))
    exact = eager_rows(frames)
    if precision == "Float32":
        assert_same(found, exact)
    else:
        assert found[0].dtype == torch.float32
        best = [(np.asarray(f)[0, 4], e[0, 4]) for f, e in zip(found, exact, strict=True)]
        assert all(abs(one - other) < 0.02 for one, other in best)
        assert any(one != other for one, other in best)


def test_a_program_of_half_precision_stays_what_it_is(folder, frames):
    half = tiny_detector().to(torch.bfloat16)
    path = save(
        half, folder / "half.pt2", images=torch.zeros(4, 3, SIDE, SIDE, dtype=torch.bfloat16)
    )
    found = loaded(path).predict(torch.from_numpy(frames))
    assert abs(float(found[0][0, 4]) - eager_rows(frames)[0][0, 4]) < 0.02
    with pytest.raises(ModelError, match=r"precision: found Float32, and the program was exported"):
        loaded(path, precision="Float32")


def test_a_program_exported_on_a_gpu_runs_on_a_cpu(archive, frames, tmp_path):
    """Every device in the archive is replaced by the host's."""

    def on_gpu(content: bytes) -> bytes:
        return content.replace(
            b'"device": {"type": "cpu", "index": null}', b'"device": {"type": "cuda", "index": 1}'
        )

    path = changed(
        archive, tmp_path / "gpu.pt2", dict.fromkeys((PROGRAM, *CONFIGS.values()), on_gpu)
    )
    assert all(b"cuda" in entries(path)[name] for name in (PROGRAM, *CONFIGS.values()))
    assert_same(loaded(path).predict(torch.from_numpy(frames)), eager_rows(frames))


def test_loading_finds_what_the_driver_did_not_see(archive, tmp_path):
    """The host trusts no one: it inspects the file that it loads."""
    parameters = complete_parameters(archive, PARAMETERS).parameters

    def load(path: Path | None) -> None:
        ExportedDetector(parameters).load(
            LoadContext(device="cpu", precision="Auto", model_path=path, max_batch=8)
        )

    with pytest.raises(ModelNotFound, match=r"spec\.model\.uri"):
        load(None)
    with pytest.raises(ModelNotFound, match=r"gone\.pt2"):
        load(tmp_path / "gone.pt2")
    bad = changed(archive, tmp_path / "bad.pt2", {PROGRAM: in_json(lambda d: d.update(evil="yes"))})
    with pytest.raises(ModelUnsafe, match=r"bad\.pt2: models/model\.json: has a field 'evil'"):
        load(bad)


def test_weights_of_another_shape_than_the_operators_take_are_named(archive, tmp_path):
    """Bytes and config agree with each other; only running the program tells."""

    def turned(document) -> None:
        meta = document["config"]["conv.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": n} for n in (7, 4, 4, 3)]
        meta["strides"] = [{"as_int": n} for n in (48, 12, 3, 1)]

    bad = changed(archive, tmp_path / "bad.pt2", {CONFIGS["weights"]: in_json(turned)})
    with pytest.raises(ModelFormatError, match=r"bad\.pt2: fails on a black image: RuntimeError"):
        loaded(bad)


def test_predicting_before_loading_is_an_error(archive):
    detector = ExportedDetector(complete_parameters(archive, PARAMETERS).parameters)
    with pytest.raises(HandlerError, match="before load"):
        detector.predict(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8))


def test_boxes_go_back_to_the_source_frame(archive):
    detector = loaded(archive, {**PARAMETERS, "resize": "Letterbox"})
    frame = np.zeros((20, 40, 3), np.uint8)
    item = np.empty((SIDE, SIDE, 3), np.uint8)
    placement = detector.preprocess(frame, item)
    rows = detector.postprocess(np.array([[0, 8, 32, 24, 0.9, 1]], np.float32), placement)
    np.testing.assert_allclose(rows[0, :4], [0, 0, 40, 20])
