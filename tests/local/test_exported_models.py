"""Jobs of format TorchExport on local Spark: the rows of the network that was exported."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from carpool.vision.resize import fit
from support.local_runs import oracle_job, run_carpool, run_job_file, write_job
from support.pt2_archives import (
    PROGRAM,
    SIDE,
    Trap,
    any_batch,
    changed,
    in_json,
    pickled_by_torch,
    save,
    tiny_detector,
)
from support.real_clip import real_file

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.slow]

PARAMETERS = {"resize": "Letterbox", "scoreThreshold": 0.7, "iouThreshold": 0.45}
COLUMNS = ["class_id", "score", "x1", "y1", "x2", "y2"]


def exported_job(archive: Path, inputs, output: Path, **model):
    return oracle_job(
        inputs,
        output,
        model={"format": "TorchExport", "uri": str(archive), "parameters": PARAMETERS, **model},
        tracking=None,
        batching={"deterministic": True},
    )


def rows_by_frame(output: Path) -> dict[tuple[str, int], np.ndarray]:
    """Rows of a result, best first, by (name of the clip, frame)."""
    table = pq.read_table(output / "detections").sort_by(
        [("video_uri", "ascending"), ("frame_index", "ascending"), ("score", "descending")]
    )
    keys = zip(table["video_uri"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
    values = np.stack([table[name].to_numpy() for name in COLUMNS], axis=1)
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    for (uri, frame), row in zip(keys, values, strict=True):
        found.setdefault((Path(uri).name, frame), []).append(row)
    return {key: np.stack(rows) for key, rows in found.items()}


def rows_of_the_eager_network(clip: Path) -> dict[tuple[str, int], np.ndarray]:
    """What the network itself finds, one frame after the other, by torch and numpy alone."""
    network, video = tiny_detector(), cv2.VideoCapture(str(clip))
    found, index = {}, 0
    while True:
        given, frame = video.read()
        if not given:
            return found
        item = np.empty((SIDE, SIDE, 3), np.uint8)
        placement = fit(frame.astype(np.uint8, copy=False), item, "Letterbox")
        image = torch.from_numpy(item[:, :, ::-1].transpose(2, 0, 1).copy())[None] / 255.0
        boxes, scores = (values[0].numpy() for values in network(image))
        order = np.argsort(-scores.max(axis=1), kind="stable")
        rows = np.concatenate(
            [boxes, scores.max(axis=1, keepdims=True), scores.argmax(axis=1)[:, None]], axis=1
        )[order].astype(np.float32)
        kept = _suppressed([row for row in rows if row[4] > PARAMETERS["scoreThreshold"]])
        if kept:
            x1, y1, x2, y2, score, label = placement.to_source(np.stack(kept)).T
            found[clip.name, index] = np.stack([label, score, x1, y1, x2, y2], axis=1)
        index += 1


def _suppressed(rows):
    """The textbook's greedy suppression."""
    kept = []
    for row in rows:
        if all(row[5] != k[5] or _iou(row, k) <= PARAMETERS["iouThreshold"] for k in kept):
            kept.append(row)
    return kept


def _iou(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (one, other)]
    return shared / (sum(areas) - shared)


def assert_same_rows(found, expected, tolerance: float) -> None:
    assert len(expected) > 50
    assert found.keys() == expected.keys()
    for key, rows in expected.items():
        np.testing.assert_allclose(found[key], rows, atol=tolerance, rtol=0, err_msg=str(key))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return save(
        tiny_detector(),
        tmp_path_factory.mktemp("pt2") / "tiny.pt2",
        dynamic=any_batch(),
        extra_files={"names": "car\nbus\ntruck"},
    )


def test_a_jobs_rows_are_those_of_the_eager_network(archive, clips, tmp_path):
    job = write_job(tmp_path / "job.yaml", exported_job(archive, clips / "*.mp4", tmp_path / "out"))
    assert run_carpool("validate", str(job)).code == 0
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    expected = {}
    for clip in sorted(clips.glob("*.mp4")):
        expected |= rows_of_the_eager_network(clip)
    assert_same_rows(rows_by_frame(tmp_path / "out"), expected, 1e-3)


def test_a_program_for_a_fixed_batch_gives_the_same_rows(clips, tmp_path):
    clip = min(clips.glob("*.mp4"))
    archive = save(tiny_detector(), tmp_path / "fixed.pt2", images=torch.zeros(5, 3, SIDE, SIDE))
    job = exported_job(archive, clip, tmp_path / "out")
    job["spec"]["model"]["parameters"] = {**PARAMETERS, "classNames": ["car", "bus", "truck"]}
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 0, ended.stderr
    assert_same_rows(rows_by_frame(tmp_path / "out"), rows_of_the_eager_network(clip), 1e-3)


def test_a_malicious_archive_fails_the_job_before_it_starts(archive, clips, tmp_path):
    canary = tmp_path / "canary"
    bad = changed(
        archive,
        tmp_path / "bad.pt2",
        {"data/sample_inputs/model.pt": pickled_by_torch(((Trap(canary),), {}))},
    )
    job = write_job(tmp_path / "job.yaml", exported_job(bad, clips / "*.mp4", tmp_path / "out"))
    ended = run_job_file(job)
    assert ended.code == 1
    assert "ModelUnsafe" in ended.stderr
    assert "bad.pt2: data/sample_inputs/model.pt: is a pickle that calls" in ended.stderr
    assert not canary.exists()
    assert not (tmp_path / "out" / "detections").exists()


def test_a_program_that_torch_cannot_load_fails_the_job_with_the_hosts_reason(
    archive, clips, tmp_path
):
    """The driver, which has no torch, sees nothing wrong with it."""

    def change(document) -> None:
        nodes = document["graph_module"]["graph"]["nodes"]
        nodes[0]["target"] = "torch.ops.aten.conv2d.quickly"

    bad = changed(archive, tmp_path / "bad.pt2", {PROGRAM: in_json(change)})
    job = write_job(tmp_path / "job.yaml", exported_job(bad, clips / "*.mp4", tmp_path / "out"))
    ended = run_job_file(job)
    assert ended.code == 1
    assert "ModelFormatError" in ended.stderr
    assert "bad.pt2: torch 2." in ended.stderr


def test_own_handlers_load_archives_safely(archive, clips, tmp_path):
    """A handler of one's own with format TorchExport: inspected all the same."""
    job = exported_job(
        archive, min(clips.glob("*.mp4")), tmp_path / "out", handler="support.pt2_handler:Mine"
    )
    job["spec"]["model"]["parameters"] = {}
    path = write_job(tmp_path / "job.yaml", job)
    ended = run_job_file(path)
    assert ended.code == 0, ended.stderr
    assert pq.read_table(tmp_path / "out" / "detections")["score"].to_numpy().min() > 0.7
    canary = tmp_path / "canary"
    changed(
        archive,
        tmp_path / "bad.pt2",
        {"data/sample_inputs/model.pt": pickled_by_torch(((Trap(canary),), {}))},
    )
    job["spec"]["model"]["uri"] = str(tmp_path / "bad.pt2")
    ended = run_job_file(write_job(path, job))
    assert ended.code == 1
    assert "ModelUnsafe" in ended.stderr
    assert not canary.exists()


def test_a_handlers_network_is_filled_from_a_safetensors_file(clips, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file(tiny_detector().state_dict(), path)
    job = exported_job(path, min(clips.glob("*.mp4")), tmp_path / "out", format="Python")
    job["spec"]["model"] |= {"handler": "support.pt2_handler:Weights", "parameters": {}}
    job_file = write_job(tmp_path / "job.yaml", job)
    ended = run_job_file(job_file)
    assert ended.code == 0, ended.stderr
    scores = pq.read_table(tmp_path / "out" / "detections")["score"].to_numpy()
    assert len(scores) > 50
    assert scores.min() > 0.7
    path.write_bytes(path.read_bytes()[:-4])
    job["spec"]["output"]["mode"] = "Overwrite"
    ended = run_job_file(write_job(job_file, job))
    assert ended.code == 1
    assert "ModelFormatError" in ended.stderr
    assert "tiny.safetensors: is no .safetensors file, or is damaged" in ended.stderr


def _example():
    path = Path(__file__).resolve().parents[2] / "examples" / "export_detector.py"
    spec = importlib.util.spec_from_file_location("export_detector", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:No complete tensor found in the group")
def test_an_exported_yolo_detects_what_the_darknet_job_does(real_clip, tmp_path):
    example, cfg = _example(), real_file("yolo-fastest-1.1-xl.cfg")
    detector = example.DarknetDetector(cfg, real_file("yolo-fastest-1.1-xl.weights"))
    names = real_file("coco.names").read_text().splitlines()
    example.save_detector(detector, detector.size, names, tmp_path / "yolo.pt2")
    shared = {"resize": "Stretch", "scoreThreshold": 0.25, "iouThreshold": 0.45}
    models = {
        "darknet": {
            "format": "Darknet",
            "uri": str(cfg),
            "parameters": {**shared, "names": "coco.names"},
        },
        "exported": {
            "format": "TorchExport",
            "uri": str(tmp_path / "yolo.pt2"),
            "parameters": shared,
        },
    }
    rows = {}
    for name, model in models.items():
        job = oracle_job(
            real_clip,
            tmp_path / name,
            model=model,
            tracking=None,
            batching={"deterministic": True},
        )
        ended = run_job_file(write_job(tmp_path / f"{name}.yaml", job))
        assert ended.code == 0, ended.stderr
        rows[name] = rows_by_frame(tmp_path / name)
    # Boxes are in pixels of a frame of 1280 by 720: a thousandth is 1e-6 of its width.
    assert_same_rows(rows["exported"], rows["darknet"], 1e-3)
    for key, exact in rows["darknet"].items():
        np.testing.assert_allclose(rows["exported"][key][:, 1], exact[:, 1], atol=1e-4, rtol=0)
        assert json.dumps(rows["exported"][key][:, 0].tolist()) == json.dumps(exact[:, 0].tolist())
