"""One model for all tasks, or one for each: the same rows, other costs."""

from __future__ import annotations

import json

import pytest

from support.local_runs import oracle_job, result_hash, run_job_file, start_carpool, write_job

pytestmark = [pytest.mark.spark, pytest.mark.slow]

TASKS = 3


def sharing_job(clips, folder, sharing, handler="carpool.vision.oracle:ColourOracle"):
    job = oracle_job(
        clips / "*.mp4",
        folder / "out",
        sharing=sharing,
        batching={"deterministic": True},
        model={"format": "Python", "handler": handler},
    )
    job["spec"]["spark"]["executor"]["cores"] = TASKS
    return write_job(folder / "job.yaml", job)


def hosts(folder):
    manifest = json.loads((folder / "out" / "_manifest.json").read_text())
    return list(manifest["host"].values())


@pytest.mark.parametrize(("sharing", "copies"), [("Shared", 1), ("PerTask", TASKS)])
def test_the_rows_are_the_same_and_the_model_copies_are_not(
    clips, reference_run, tmp_path, sharing, copies
):
    ended = run_job_file(sharing_job(clips, tmp_path, sharing))
    assert ended.code == 0, ended.stderr
    assert ended.result["modelCopies"] == copies
    assert result_hash(tmp_path / "out") == reference_run.hash
    found = hosts(tmp_path)
    assert len({host["pid"] for host in found}) == copies
    assert sum(host["items"] for host in found) == ended.result["frames"]


def test_the_next_worker_takes_over_the_host_of_one_that_was_killed(clips, reference_run, tmp_path):
    job = sharing_job(clips, tmp_path, "PerTask", "support.local_handlers:SlowOracle")
    with start_carpool("run", str(job), "-o", "json") as running:
        running.wait_for_first_frames()
        running.kill_worker()
        ended = running.end()
        running.wait_for_no_process()
    assert ended.code == 0, ended.stderr
    assert ended.result["modelCopies"] == TASKS
    assert result_hash(tmp_path / "out") == reference_run.hash
    assert all(host["generation"] == 1 for host in hosts(tmp_path))
    assert max(host["clients_served"] for host in hosts(tmp_path)) == 2
    assert all(host["clients"] <= 1 for host in hosts(tmp_path))
