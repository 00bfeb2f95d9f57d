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
        (directory.path / "host-0").mkdir()
        (directory.path / "host-0" / "host.json").write_text("{}")
        (directory.path / "host-0" / "host.log").write_text("of one task alone")
        directory.keep = True
    left = sorted(path.relative_to(directory.path) for path in directory.path.rglob("*.*"))
    assert [str(path) for path in left] == ["host-0/host.log", "spark.log"]
    assert not (directory.path / "scratch").exists()


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
