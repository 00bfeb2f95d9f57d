"""The real clip with the real network: the result depends on neither tasks nor cuts."""

from __future__ import annotations

import pyarrow.dataset
import pytest

from support.local_fixtures import REAL_SECONDS
from support.local_runs import result_hash, run_job_file

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module")
def expected():
    """The hash of the first run; all others must give it."""
    return {}


@pytest.mark.parametrize(
    ("cores", "chunk_seconds", "sharing"),
    [(1, 60, "Shared"), (2, 10, "Shared"), (4, 0, "Shared"), (2, 2, "PerTask")],
    ids=["one task, whole file", "two tasks, 10 s", "four tasks, keyframe groups", "two models"],
)
def test_tasks_and_cuts_change_nothing(
    real_job, tmp_path, expected, *, cores, chunk_seconds, sharing
):
    job = real_job(cores=cores, chunk_seconds=chunk_seconds)
    ended = run_job_file(job, "--set", f"sharing={sharing}")
    assert ended.code == 0, ended.stderr
    assert ended.result["frames"] == REAL_SECONDS * 24
    assert ended.result["modelCopies"] == (cores if sharing == "PerTask" else 1)
    found = result_hash(tmp_path / "out")
    assert expected.setdefault("hash", found) == found
    tracks = pyarrow.dataset.dataset(tmp_path / "out" / "track_summary").to_table().to_pylist()
    assert any(track["class_name"] == "car" and track["frames"] > 48 for track in tracks)
