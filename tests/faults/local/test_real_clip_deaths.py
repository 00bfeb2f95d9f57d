"""The real clip with the real network: whatever dies, the rows are the same."""

from __future__ import annotations

import json
import shutil

import pytest

from support.local_fixtures import REAL_SECONDS
from support.local_runs import result_hash, run_job_file, start_carpool

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.data, pytest.mark.slow]


@pytest.fixture
def expected(real_job, tmp_path):
    """The hash of the undisturbed run."""
    ended = run_job_file(real_job(cores=2, chunk_seconds=0))
    assert ended.code == 0, ended.stderr
    found = result_hash(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    return found


def check(ended, output, expected):
    assert ended.code == 0, ended.stderr
    assert ended.result["frames"] == REAL_SECONDS * 24
    assert ended.result["modelCopies"] == 1
    assert result_hash(output) == expected


@pytest.mark.parametrize("victim", ["host child", "worker"])
def test_a_death_changes_nothing(real_job, tmp_path, expected, victim):
    with start_carpool("run", str(real_job(cores=2, chunk_seconds=0)), "-o", "json") as running:
        running.wait_for_first_frames()
        running.kill_host_child() if victim == "host child" else running.kill_worker()
        check(running.end(), tmp_path / "out", expected)


def test_a_driver_killed_midway_is_resumed(real_job, tmp_path, expected):
    job = real_job(cores=2, chunk_seconds=0)
    with start_carpool("run", str(job)) as running:
        running.wait_for_first_frames()
        running.process.kill()
        running.process.wait()
        running.wait_for_no_process()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    resumed = run_job_file(job)
    assert "frames done before" in resumed.stderr
    check(resumed, tmp_path / "out", expected)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["totals"]["frames"] == REAL_SECONDS * 24
