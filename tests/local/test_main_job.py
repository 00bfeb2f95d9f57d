"""Whole jobs on local Spark, as a user runs them: vehicles in rendered video, one shared model."""

from __future__ import annotations

import json

import cv2
import pyarrow.dataset
import pytest

from support.local_runs import (
    oracle_job,
    result_hash,
    run_carpool,
    run_job_file,
    write_job,
)

pytestmark = [pytest.mark.spark, pytest.mark.slow]

FRAMES = 120 + 84


def test_one_model_serves_all_tasks_and_the_result_says_so(reference_run):
    result = reference_run.result
    assert result["phase"] == "Succeeded"
    assert result["frames"] == FRAMES
    assert result["modelCopies"] == 1
    assert result["detections"] > FRAMES
    assert result["tracks"] > 5
    assert result["quarantined"] == 0


@pytest.mark.parametrize(
    ("cores", "chunk_seconds"), [(1, 30), (4, 1)], ids=["one task, whole files", "four tasks, cut"]
)
def test_the_result_does_not_depend_on_tasks_and_cuts(
    clips, reference_run, tmp_path, cores, chunk_seconds
):
    job = oracle_job(clips / "*.mp4", tmp_path / "out")
    job["spec"]["input"]["video"]["chunkSeconds"] = chunk_seconds
    job["spec"]["spark"]["executor"]["cores"] = cores
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 0, ended.stderr
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_plain_spark_reads_each_row_once(reference_run):
    from pyspark.sql import SparkSession

    out, result = reference_run.output, reference_run.result
    spark = (
        SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    )
    try:
        detections = spark.read.parquet(str(out / "detections"))
        assert detections.count() == result["detections"]
        keys = detections.select("video_uri", "frame_index", "x1", "y1", "x2", "y2")
        assert keys.distinct().count() == detections.count()
        tracks = spark.read.parquet(str(out / "tracks"))
        assert tracks.select("video_uri", "track_id").distinct().count() == result["tracks"]
    finally:
        spark.stop()


def test_a_job_that_is_done_is_not_done_again(reference_run):
    def change_times():
        return {path: path.stat().st_mtime_ns for path in reference_run.output.rglob("*.parquet")}

    before = change_times()
    again = run_job_file(reference_run.job)
    assert again.code == 0
    assert "Everything was done before" in again.stderr
    assert again.result["frames"] == FRAMES
    assert again.result["detections"] == reference_run.result["detections"]
    assert change_times() == before


def test_results_shows_what_a_folder_holds(reference_run):
    shown = run_carpool("results", str(reference_run.output), "-o", "json")
    assert shown.code == 0
    document = json.loads(shown.stdout)
    assert document["detections"] == reference_run.result["detections"]
    assert sum(document["classes"].values()) == reference_run.result["tracks"]
    sheet = cv2.imread(str(reference_run.output / "contact-sheet.jpg"))
    assert sheet.shape[1] > 960


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("CannotBuild", "could not convert string to float: 'high'"),
        ("CannotLoad", "the weights are from another network"),
        ("NeverWorks", "the model failed on every one of 17 work units"),
    ],
)
def test_a_model_that_cannot_work_fails_the_job_with_its_own_reason(
    clips, tmp_path, handler, message
):
    model = {"format": "Python", "handler": f"support.local_handlers:{handler}"}
    job = write_job(tmp_path / "job.yaml", oracle_job(clips / "*.mp4", tmp_path / "o", model=model))
    ended = run_job_file(job)
    assert ended.code == 1
    assert ended.result["phase"] == "Failed"
    assert message in ended.result["message"]
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "o").glob("quarantine/*.parquet"))


@pytest.mark.torch
def test_workers_import_no_torch(clips, tmp_path):
    model = {"format": "Python", "handler": "support.local_handlers:TorchReporter"}
    job = write_job(
        tmp_path / "job.yaml", oracle_job(clips / "*-2.mp4", tmp_path / "o", model=model)
    )
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    rows = pyarrow.dataset.dataset(tmp_path / "o" / "detections").to_table().to_pylist()
    assert {row["class_name"] for row in rows} == {"torch in host, none in worker"}
    assert len(rows) == 84


def test_a_host_with_too_little_memory_says_which_field_to_raise(clips, tmp_path):
    job = oracle_job(clips / "*.mp4", tmp_path / "out", host={"memory": "16Mi"})
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 1
    assert "a batch of 1 needs" in ended.stderr
    assert "spec.host.memory" in ended.stderr
