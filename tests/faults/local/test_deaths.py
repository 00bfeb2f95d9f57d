"""Whole jobs that are disturbed: whatever dies, the rows are those of the undisturbed run."""

from __future__ import annotations

import json

import pytest

from support.local_runs import oracle_job, result_hash, run_job_file, start_carpool, write_job

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def slow_job(clips, tmp_path, **spec):
    """A job that takes seconds, so that it can be disturbed midway; its rows are the oracle's."""
    model = {"format": "Python", "handler": "support.local_handlers:SlowOracle"}
    return oracle_job(clips / "*.mp4", tmp_path / "out", model=model, **spec)


def generation(output):
    """How many times the host's child was started, by the manifest."""
    manifest = json.loads((output / "_manifest.json").read_text())
    [host] = manifest["host"].values()
    return host["generation"]


def test_a_host_that_is_killed_midway_changes_nothing(clips, reference_run, tmp_path):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    with start_carpool("run", str(job), "-o", "json") as running:
        running.wait_for_first_frames()
        running.kill_host_child()
        ended = running.end()
    assert ended.code == 0, ended.stderr
    assert ended.result["modelCopies"] == 1
    assert generation(tmp_path / "out") == 2
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_a_worker_that_is_killed_midway_changes_nothing(clips, reference_run, tmp_path):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    with start_carpool("run", str(job), "-o", "json") as running:
        running.wait_for_first_frames()
        running.kill_worker()
        ended = running.end()
    assert ended.code == 0, ended.stderr
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_a_driver_that_is_killed_leaves_no_process_and_the_next_run_goes_on(
    clips, reference_run, tmp_path
):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    with start_carpool("run", str(job)) as running:
        running.wait_for_first_frames()
        running.process.kill()
        running.process.wait()
        running.wait_for_no_process()
        assert not (tmp_path / "out" / "_SUCCESS").exists()
        done = len(list((tmp_path / "out" / "detections").glob("*.parquet")))
    assert done > 0
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    assert "frames done before" in ended.stderr
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_ctrl_c_leaves_no_process_and_the_next_run_goes_on(clips, reference_run, tmp_path):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    with start_carpool("run", str(job)) as running:
        running.wait_for_first_frames()
        running.interrupt()
        ended = running.end()
        assert ended.code == 130
        assert "run the same command again" in ended.stderr
        assert "Traceback" not in ended.stderr
        running.wait_for_no_process()
        assert not list(running.temporary.iterdir())
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_an_interrupted_job_goes_on_whatever_its_output_mode(clips, reference_run, tmp_path):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    again = ("--set", "output.mode=Error")
    with start_carpool("run", str(job), *again) as running:
        running.wait_for_first_frames()
        running.process.terminate()
        assert running.end().code == 130
    ended = run_job_file(job, *again)
    assert ended.code == 0, ended.stderr
    assert "frames done before" in ended.stderr
    assert result_hash(tmp_path / "out") == reference_run.hash


def test_ctrl_c_while_spark_starts_leaves_no_process(clips, tmp_path):
    job = write_job(tmp_path / "job.yaml", oracle_job(clips / "*.mp4", tmp_path / "out"))
    with start_carpool("run", str(job)) as running:
        running.wait_for_line("Starting")
        running.interrupt()
        ended = running.end()
        assert ended.code == 130
        assert "Traceback" not in ended.stderr
        running.wait_for_no_process()


def test_a_jvm_that_dies_fails_the_job_in_words(clips, tmp_path):
    job = write_job(tmp_path / "job.yaml", slow_job(clips, tmp_path))
    with start_carpool("run", str(job), "-o", "json") as running:
        running.wait_for_first_frames()
        [jvm] = running.processes("java", "org.apache.spark")
        jvm.kill()
        ended = running.end()
        running.wait_for_no_process()
    assert ended.code == 1
    assert ended.result["phase"] == "Failed"
    assert "carpool: SparkFailed: " in ended.stderr
