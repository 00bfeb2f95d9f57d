"""What a second run does with what the first one left, by `output.mode`."""

from __future__ import annotations

import shutil

import pyarrow.dataset
import pytest

from support.local_runs import oracle_job, result_hash, run_job_file, write_job

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def frames_by_video(output):
    """Frame indices with detections of each video, and whether any row stands there twice."""
    table = pyarrow.dataset.dataset(output / "detections").to_table()
    rows = list(
        zip(
            *(table[name].to_pylist() for name in ("video_uri", "frame_index", "x1", "y1", "x2")),
            strict=True,
        )
    )
    assert len(rows) == len(set(rows))
    frames = {}
    for uri, index, *_ in rows:
        frames.setdefault(uri.rsplit("/", 1)[-1], set()).add(index)
    return frames


@pytest.fixture
def first_run(clips, reference_run, tmp_path):
    """A finished job whose output a test may change."""
    shutil.copytree(reference_run.output, tmp_path / "out")
    return write_job(tmp_path / "job.yaml", oracle_job(clips / "*.mp4", tmp_path / "out"))


def test_error_refuses_what_is_there_and_overwrite_replaces_it(first_run, tmp_path, reference_run):
    refused = run_job_file(first_run, "--set", "output.mode=Error")
    assert refused.code == 1
    assert refused.result["reason"] == "OutputExists"
    assert "spec.output.mode" in refused.result["message"]

    changed = ("--set", "model.parameters.scoreThreshold=0.6")
    refused = run_job_file(first_run, *changed)
    assert refused.code == 1
    assert refused.result["reason"] == "OutputMismatch"
    assert "model.parameters.scoreThreshold: was not set, now 0.6" in refused.result["message"]
    assert result_hash(tmp_path / "out") == reference_run.hash

    replaced = run_job_file(first_run, *changed, "--set", "output.mode=Overwrite")
    assert replaced.code == 0, replaced.stderr
    assert replaced.result["detections"] < reference_run.result["detections"]
    scores = pyarrow.dataset.dataset(tmp_path / "out" / "detections").to_table()["score"]
    assert min(scores.to_pylist()) >= 0.6


def test_resume_runs_what_is_new_and_drops_what_was_replaced(own_clips, tmp_path):
    job = write_job(tmp_path / "job.yaml", oracle_job(own_clips / "*.mp4", tmp_path / "out"))
    assert run_job_file(job).code == 0
    # clip-1 becomes another, shorter video; clip-2 stays; clip-3 is new.
    shutil.copy2(own_clips / "clip-1.mp4", own_clips / "clip-3.mp4")
    shutil.copyfile(own_clips / "clip-2.mp4", own_clips / "clip-1.mp4")
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    assert "84 frames done before" in ended.stderr
    assert ended.result["frames"] == 84 + 84 + 120
    assert {name: len(frames) for name, frames in frames_by_video(tmp_path / "out").items()} == {
        "clip-1.mp4": 84,
        "clip-2.mp4": 84,
        "clip-3.mp4": 120,
    }
    assert len(list((tmp_path / "out" / "tracks").iterdir())) == 3


def test_a_folder_that_carpool_did_not_write_is_left_alone(clips, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("three years of work")
    for mode in ("Resume", "Overwrite", "Error"):
        job = oracle_job(clips / "*.mp4", out)
        job["spec"]["output"]["mode"] = mode
        ended = run_job_file(write_job(tmp_path / "job.yaml", job))
        assert ended.code == 1
        assert ended.result["reason"] in {"OutputNotOurs", "OutputExists"}
    assert [path.name for path in out.iterdir()] == ["thesis.docx"]
