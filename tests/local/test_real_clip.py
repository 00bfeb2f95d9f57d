"""The real clip with the real network: the result depends on neither tasks, cuts nor deaths."""

from __future__ import annotations

import json

import pyarrow.dataset
import pytest

from support.local_runs import oracle_job, result_hash, run_job_file, start_carpool, write_job
from support.real_clip import excerpt, real_file

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.data, pytest.mark.slow]

SECONDS = 10


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return excerpt(
        real_file("traffic.mp4"), tmp_path_factory.mktemp("real") / "traffic.mp4", SECONDS
    )


@pytest.fixture
def job_file(clip, tmp_path):
    def write(*, cores: int, chunk_seconds: int):
        job = oracle_job(clip, tmp_path / "out")
        job["spec"] |= {
            "model": {
                "format": "Darknet",
                "uri": str(real_file("yolo-fastest-1.1-xl.cfg")),
                "parameters": {"names": "coco.names", "resize": "Stretch"},
            },
            "batching": {"deterministic": True},
            # Yolo-Fastest scores low; see examples/darknet-video.yaml.
            "tracking": {
                "algorithm": "ByteTrack",
                "parameters": {"trackActivationThreshold": 0.4, "highConfDetThreshold": 0.35},
            },
        }
        job["spec"]["spark"]["executor"]["cores"] = cores
        job["spec"]["input"]["video"]["chunkSeconds"] = chunk_seconds
        return write_job(tmp_path / "job.yaml", job)

    return write


@pytest.fixture(scope="session")
def expected():
    """The hash of the first run of this session; all others must give it."""
    return {}


def check(ended, output, expected):
    assert ended.code == 0, ended.stderr
    assert ended.result["frames"] == SECONDS * 24
    assert ended.result["modelCopies"] == 1
    assert ended.result["tracks"] > 5
    found = result_hash(output)
    assert expected.setdefault("hash", found) == found


@pytest.mark.parametrize(
    ("cores", "chunk_seconds"),
    [(1, 60), (2, 10), (4, 0)],
    ids=["one task, whole file", "two tasks, 10 s", "four tasks, keyframe groups"],
)
def test_tasks_and_cuts_change_nothing(job_file, tmp_path, expected, cores, chunk_seconds):
    ended = run_job_file(job_file(cores=cores, chunk_seconds=chunk_seconds))
    check(ended, tmp_path / "out", expected)
    tracks = pyarrow.dataset.dataset(tmp_path / "out" / "track_summary").to_table().to_pylist()
    assert any(track["class_name"] == "car" and track["frames"] > 48 for track in tracks)


@pytest.mark.parametrize("victim", ["host child", "worker"])
def test_a_death_changes_nothing(job_file, tmp_path, expected, victim):
    with start_carpool("run", str(job_file(cores=2, chunk_seconds=0)), "-o", "json") as running:
        running.wait_for_line("Detecting", "frames")
        running.kill_host_child() if victim == "host child" else running.kill_worker()
        check(running.end(), tmp_path / "out", expected)


def test_a_driver_killed_midway_is_resumed(job_file, tmp_path, expected):
    job = job_file(cores=2, chunk_seconds=0)
    with start_carpool("run", str(job)) as running:
        running.wait_for_line("Detecting", "frames")
        running.process.kill()
        running.process.wait()
        running.wait_for_no_process()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    resumed = run_job_file(job)
    assert "frames done before" in resumed.stderr
    check(resumed, tmp_path / "out", expected)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["totals"]["frames"] == SECONDS * 24
