"""Bad input is set aside with its reason; input that only fails for a while is not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pyarrow.dataset
import pytest

from carpool.errors import InputUnavailable
from carpool.inputs.filesystem import expand
from carpool.inputs.staging import private_copy
from support.clips import damage, truncate
from support.local_runs import oracle_job, result_hash, run_job_file, write_job
from support.s3 import FlakyS3, flaky_s3

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture
def mixed_folder(clips, tmp_path):
    """One good clip and one of each kind of bad one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = clips / "clip-2.mp4"
    shutil.copy2(good, folder / "good.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video, only words\n" * 500)
    truncate(shutil.copy2(good, folder / "truncated.mp4"), keep=0.6)
    damage(shutil.copy2(clips / "clip-1.mp4", folder / "damaged.mp4"), at=0.5, count=4000)
    return folder


def quarantine_by_name(output):
    rows = pyarrow.dataset.dataset(output / "quarantine").to_table().to_pylist()
    return {row["video_uri"].rsplit("/", 1)[-1]: row for row in rows}


def test_bad_files_are_quarantined_with_reason_and_frames_and_good_ones_complete(
    mixed_folder, tmp_path
):
    job = oracle_job(mixed_folder / "*.mp4", tmp_path / "out")
    job["spec"]["input"]["video"]["chunkSeconds"] = 30
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 2, ended.stderr
    assert ended.result["phase"] == "PartiallySucceeded"
    assert ended.result["quarantined"] == 4
    found = quarantine_by_name(tmp_path / "out")
    assert {name: row["reason"] for name, row in found.items()} == {
        "empty.mp4": "Undecodable",
        "text.mp4": "Undecodable",
        "truncated.mp4": "Undecodable",
        "damaged.mp4": "FramesMissing",
    }
    assert found["empty.mp4"]["frames_given"] == 0
    damaged = found["damaged.mp4"]
    assert damaged["frames_expected"] == 120
    assert 0 < damaged["frames_given"] < 120
    assert all(row["message"] for row in found.values())

    detections = pyarrow.dataset.dataset(tmp_path / "out" / "detections").to_table()
    assert {uri.rsplit("/", 1)[-1] for uri in detections["video_uri"].to_pylist()} == {"good.mp4"}
    assert len(set(detections["frame_index"].to_pylist())) == 84


def test_a_job_that_accepts_no_bad_input_fails_and_names_it(mixed_folder, tmp_path):
    job = oracle_job(mixed_folder / "*.mp4", tmp_path / "out", failurePolicy={"badInputs": "Fail"})
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 1
    assert ended.result["reason"] == "Undecodable"
    assert "empty.mp4" in ended.result["message"]
    assert not (tmp_path / "out").exists()


def test_bad_input_that_joins_a_finished_job_is_told_and_can_be_tried_again(clips, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy2(clips / "clip-2.mp4", folder / "good.mp4")
    job = write_job(tmp_path / "job.yaml", oracle_job(folder / "*.mp4", tmp_path / "out"))
    assert run_job_file(job).code == 0
    (folder / "words.mp4").write_text("no video\n" * 100)
    ended = run_job_file(job)
    assert ended.code == 2
    assert ended.result["quarantined"] == 1
    (folder / "words.mp4").unlink()
    assert run_job_file(job, "--retry-quarantined").code == 0
    assert not list((tmp_path / "out" / "quarantine").glob("*.parquet"))


def test_input_that_is_all_bad_fails_a_job_with_a_limit(tmp_path):
    (tmp_path / "words.mp4").write_text("no video\n" * 100)
    job = oracle_job(tmp_path / "*.mp4", tmp_path / "out", failurePolicy={"maxBadPercent": 5})
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 1
    assert ended.result["reason"] == "TooManyBadInputs"


def test_more_bad_frames_than_allowed_fail_the_job(mixed_folder, tmp_path):
    job = oracle_job(mixed_folder / "*.mp4", tmp_path / "out", failurePolicy={"maxBadPercent": 1})
    ended = run_job_file(write_job(tmp_path / "job.yaml", job))
    assert ended.code == 1
    assert ended.result["reason"] == "TooManyBadInputs"
    assert "spec.failurePolicy.maxBadPercent allows 1 %" in ended.result["message"]


@dataclass
class HealingS3(FlakyS3):
    """Serves the driver, then breaks off the next reads of tasks, then serves again."""

    first: int = 0
    failures: int = 0
    failed: int = 0

    def serve(self, app, environ, start):
        key = environ["PATH_INFO"].removeprefix(f"/{self.bucket}").strip("/")
        is_read = environ["REQUEST_METHOD"] == "GET" and key.endswith(".mp4")
        broken = is_read and self.object_reads >= self.first and self.failed < self.failures
        self.failed += broken
        self.fault = "error" if broken else None
        return super().serve(app, environ, start)


def test_storage_that_fails_twice_is_read_again_and_nothing_is_quarantined(
    clips, tmp_path, monkeypatch
):
    with flaky_s3(monkeypatch, HealingS3) as server:
        uri = server.put("clips/clip-2.mp4", clips / "clip-2.mp4")
        [file] = expand([uri], server.storage)
        # How many requests one attempt makes: the client library retries by itself.
        server.first, server.failures = server.object_reads, 1000
        with pytest.raises(InputUnavailable), private_copy(file, server.storage, tmp_path):
            pass
        one_attempt = server.failed
        server.failed, server.failures = 0, 2 * one_attempt
        # The driver's own read, to index the file, comes first and succeeds.
        server.first = server.object_reads + 1

        job = oracle_job(uri, tmp_path / "remote")
        job["spec"]["storage"] = {"endpoint": server.storage.endpoint, "region": "us-east-1"}
        # One task at a time, so that each failing attempt is followed by the next.
        job["spec"]["spark"]["executor"]["cores"] = 1
        ended = run_job_file(write_job(tmp_path / "remote.yaml", job))
        assert ended.code == 0, ended.stderr
        assert ended.result["quarantined"] == 0
        assert server.failed == 2 * one_attempt

    local = write_job(tmp_path / "local.yaml", oracle_job(clips / "clip-2.mp4", tmp_path / "local"))
    assert run_job_file(local).code == 0
    assert result_hash(tmp_path / "remote") == result_hash(tmp_path / "local")
