"""A frame that the model does not bear costs its work unit, and nothing else of the job."""

from __future__ import annotations

import json
import zlib

import cv2
import numpy as np
import pyarrow.dataset
import pytest

from carpool.vision.oracle import ColourOracle
from support.local_runs import oracle_job, run_job_file, write_job

pytestmark = [pytest.mark.spark, pytest.mark.slow]

BAD = 30
UNIT = range(24, 36)
"""The keyframe group, and so the work unit, of the bad frame."""


def as_the_host_sees_it(clip, index):
    """One frame of a clip, as the oracle's `preprocess` puts it into a slot."""
    capture = cv2.VideoCapture(str(clip))
    for _ in range(index + 1):
        read, frame = capture.read()
        assert read
    capture.release()
    oracle = ColourOracle({})
    out = np.zeros(oracle.input_shape, np.uint8)
    oracle.preprocess(frame, out)
    return out


def test_a_frame_that_raises_in_predict_is_a_quarantine_row_and_no_failed_task(clips, tmp_path):
    item = as_the_host_sees_it(clips / "clip-1.mp4", BAD)
    model = {
        "format": "Python",
        "handler": "support.local_handlers:FailsOnOneFrame",
        "parameters": {"badFrame": zlib.crc32(item.tobytes())},
    }
    job = oracle_job(clips / "*.mp4", tmp_path / "out", model=model)
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 2, ended.stderr
    assert ended.result["phase"] == "PartiallySucceeded"
    assert ended.result["quarantined"] == 1

    [row] = pyarrow.dataset.dataset(tmp_path / "out" / "quarantine").to_table().to_pylist()
    assert row["video_uri"].endswith("clip-1.mp4")
    assert row["reason"] == "InferenceFailed"
    assert "FloatingPointError: the activations overflow" in row["message"]
    assert row["frames_expected"] == len(UNIT)
    assert row["frames_given"] == UNIT.index(BAD)

    table = pyarrow.dataset.dataset(tmp_path / "out" / "detections").to_table()
    names = (uri.rsplit("/", 1)[-1] for uri in table["video_uri"].to_pylist())
    seen = set(zip(names, table["frame_index"].to_pylist(), strict=True))
    assert not seen & {("clip-1.mp4", index) for index in UNIT}
    assert {name for name, _ in seen} == {"clip-1.mp4", "clip-2.mp4"}
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["totals"]["frames"] == 120 + 84 - len(UNIT)
    [host] = manifest["host"].values()
    assert host["generation"] == 1, "no process died of it"
