from __future__ import annotations

import pickle
import sys
from collections import defaultdict
from dataclasses import fields
from subprocess import run

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from carpool.errors import SpecError
from carpool.synth.render import render_video
from carpool.synth.scene import Scene
from carpool.synth.settings import SceneSettings
from carpool.synth.truth import TruthBox
from carpool.vision.handler import LoadContext, handler_class
from carpool.vision.oracle import ColourOracle
from support.detection_scores import DetectionScore

SETTINGS = SceneSettings(seed=3, frames=60)


@pytest.fixture(scope="module")
def frames():
    scene = Scene(SETTINGS)
    return np.stack([scene.frame(index)[0] for index in range(0, 60, 6)])


def oracle(**parameters) -> ColourOracle:
    made = ColourOracle(parameters)
    made.load(LoadContext(device="cpu", precision="Auto", model_path=None, max_batch=16))
    return made


def boxes_of(path) -> dict[int, list[TruthBox]]:
    boxes = defaultdict(list)
    names = [field.name for field in fields(TruthBox)]
    for row in pq.read_table(path).to_pylist():
        boxes[row["frame_index"]].append(TruthBox(**{name: row[name] for name in names}))
    return boxes


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_finds_the_vehicles_of_compressed_video(seed, tmp_path):
    clip = render_video(SceneSettings(seed=seed, frames=100), tmp_path, "clip")
    truth = boxes_of(clip.truth)
    detector, score = oracle(), DetectionScore()
    reader = cv2.VideoCapture(str(clip.video), cv2.CAP_FFMPEG)
    slot = np.empty((1, *detector.input_shape), np.uint8)
    scores = []
    for index in range(clip.frames):
        info = detector.preprocess(reader.read()[1], slot[0])
        rows = detector.postprocess(detector.predict(slot)[0], info)
        scores.extend(rows[:, 4].tolist())
        score.add(rows, truth[index])
    assert score.hits > 300
    assert score.precision >= 0.95
    assert score.recall >= 0.95
    low, high = np.percentile(scores, (5, 95))
    assert low < 0.6
    assert high > 0.85


def test_an_item_does_not_depend_on_its_companions(frames):
    detector = oracle()
    together = detector.predict(frames)
    alone = [detector.predict(frames[n : n + 1])[0] for n in range(len(frames))]
    backwards = detector.predict(frames[::-1])[::-1]
    for one, other, third in zip(together, alone, backwards, strict=True):
        assert len(one)
        assert np.array_equal(one, other)
        assert np.array_equal(one, third)


def test_leaves_the_batch_as_it_was(frames):
    before = frames.copy()
    oracle().predict(frames)
    assert np.array_equal(frames, before)


def test_rows_keep_the_contract(frames):
    detector = oracle(scoreThreshold=0.0)
    for rows in detector.predict(frames):
        assert rows.dtype == np.float32
        assert rows.shape[1] == detector.row_width
        assert (rows[:, :2] < rows[:, 2:4]).all()
        assert rows[:, :4].min() >= 0
        assert (rows[:, 2] <= 640).all()
        assert (rows[:, 3] <= 360).all()
        assert ((rows[:, 4] > 0) & (rows[:, 4] <= 1)).all()
        assert set(rows[:, 5]) <= set(range(len(detector.class_names)))


def test_finds_nothing_in_an_empty_street():
    scene = Scene(SceneSettings(seed=8, frames=1, vehicles_per_minute=0.0))
    (rows,) = oracle(scoreThreshold=0.0).predict(scene.frame(0)[0][None])
    assert rows.shape == (0, 6)
    assert rows.dtype == np.float32


def test_noise_gives_no_more_rows_than_promised_and_comes_to_an_end():
    noise = np.random.default_rng(0).integers(0, 256, (1, 360, 640, 3), dtype=np.uint8)
    detector = oracle(scoreThreshold=0.0, minArea=1)
    assert len(detector.predict(noise)[0]) <= detector.output_rows


def test_a_pole_before_a_vehicle_does_not_make_two_of_it():
    image = np.full((1, 360, 640, 3), 110, np.uint8)
    image[0, 100:150, 200:260] = (20, 20, 200)
    whole = oracle().predict(image)[0]
    image[0, :, 226:236] = 120
    split = oracle().predict(image)[0]
    assert split.shape == whole.shape == (1, 6)
    assert np.array_equal(split[:, :4], whole[:, :4])
    assert split[0, 5] == whole[0, 5] == 0


def test_neighbours_of_one_colour_stay_two():
    image = np.full((1, 360, 640, 3), 110, np.uint8)
    for left in (200, 290):
        image[0, 100:150, left : left + 60] = (20, 20, 200)
    assert len(oracle().predict(image)[0]) == 2


def test_the_threshold_drops_what_is_below_it(frames):
    every = oracle(scoreThreshold=0.0).predict(frames)
    some = oracle(scoreThreshold=0.7).predict(frames)
    for rows, kept in zip(every, some, strict=True):
        assert np.array_equal(kept, rows[rows[:, 4] >= 0.7])
    assert sum(map(len, some)) < sum(map(len, every))


def test_only_the_classes_asked_for_are_given(frames):
    every = oracle().predict(frames)
    chosen = oracle(classes=["truck", "car"]).predict(frames)
    for rows, kept in zip(every, chosen, strict=True):
        assert np.array_equal(kept, rows[np.isin(rows[:, 5], (0, 3))])


def test_boxes_come_back_in_pixels_of_the_frame(frames):
    small = oracle(inputSize=[180, 320], minArea=12)
    slot = np.empty(small.input_shape, np.uint8)
    info = small.preprocess(frames[5], slot)
    rows = small.postprocess(small.predict(slot[None])[0], info)
    reference = oracle().predict(frames[5:6])[0]
    large = reference[reference[:, 3] - reference[:, 1] > 40]
    assert len(large)
    for box in large:
        distance = np.abs(rows[rows[:, 5] == box[5], :4] - box[:4]).max(axis=1)
        assert distance.min() < 6


def test_equal_size_is_copied_not_resized(frames):
    detector = oracle()
    slot = np.empty(detector.input_shape, np.uint8)
    detector.preprocess(frames[0], slot)
    assert np.array_equal(slot, frames[0])


def test_is_found_by_its_reference_and_survives_pickling():
    found = handler_class("carpool.vision.oracle:ColourOracle")
    assert found is ColourOracle
    assert found.framework == "numpy"
    again = pickle.loads(pickle.dumps(oracle(inputSize=320)))  # noqa: S301  # our own bytes
    assert again.input_shape == (320, 320, 3)
    assert list(again.class_names) == ["car", "van", "bus", "truck"]


def test_imports_no_torch():
    code = "import sys, carpool.vision.oracle, carpool.synth.render; print('torch' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("inputSize", "640", "an integer or [height, width]"),
        ("scoreThreshold", 1.5, "a number from 0 to 1"),
        ("scoreThreshold", True, "a number from 0 to 1"),
        ("classes", ["tram"], "car, van, bus, truck"),
        ("minSaturation", 256, "an integer from 0 to 255"),
        ("minBrightness", 0.5, "an integer from 0 to 255"),
        ("minArea", 0, "an integer from 1"),
        ("mergeGap", "wide", "a number from 0 to 2"),
        ("iouThreshold", 0.5, "expected one of"),
        ("resize", "Letterbox", "expected one of"),
        ("classNames", ["car"], "expected one of"),
        ("colour", "red", "expected one of"),
    ],
)
def test_refuses_wrong_parameters_by_name(name, value, expected):
    with pytest.raises(SpecError) as refused:
        ColourOracle({name: value})
    assert str(refused.value).startswith(f"spec.model.parameters.{name}: ")
    assert expected in str(refused.value)
