"""The folder of a run goes with it, or with the next run where it was killed."""

from __future__ import annotations

import tempfile

import pytest

from carpool.spark.run_directory import run_directory


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_left_of_a_run_but_the_logs_of_one_that_failed(temporary):
    with run_directory() as directory:
        (directory.path / "scratch").mkdir()
        (directory.path / "spark.log").write_text("all is well")
    assert not list(temporary.iterdir())
    with run_directory() as directory:
        (directory.path / "scratch").mkdir()
        (directory.path / "spark.log").write_text("all is lost")
        directory.keep = True
    assert [path.name for path in directory.path.iterdir()] == ["spark.log"]


def test_the_folder_of_a_killed_run_is_removed_by_the_next_and_no_other(temporary):
    killed = temporary / "carpool-killed"
    killed.mkdir()
    (killed / "run.lock").touch()
    (killed / "copy.mp4").touch()
    kept = temporary / "carpool-kept"
    kept.mkdir()
    (kept / "spark.log").touch()
    with run_directory() as running, run_directory():
        assert not killed.exists()
        assert kept.exists()
        assert running.path.exists()
