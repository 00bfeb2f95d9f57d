"""A local write is cut off in the middle of the bytes, by an error or by death."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from carpool.errors import OutputUnavailable
from carpool.outputs.commit import is_temporary
from carpool.outputs.folder import OutputFolder
from carpool.outputs.units import commit_unit, committed_units
from support.output_runs import LOCAL, Job, Video, rows_seen, unit_facts, unit_table

# The kernel itself ends the write: beyond the limit it sends SIGXFSZ, which kills by default and
# which Python ignores by default (then the write fails with EFBIG, as on a full disk).
PROGRAM = """
import resource, signal, sys
from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.folder import OutputFolder
folder = OutputFolder(sys.argv[1], StorageOptions())
if sys.argv[2] == "dies":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
folder.commit("detections/unit.parquet", b"x" * 1_000_000)
"""

VIDEO = Video("a.mp4", frames=8, cuts=())
JOB = Job("job-1", (VIDEO,))


def commit_the_unit(folder: OutputFolder) -> None:
    unit_id = JOB.unit_id(VIDEO, 0, 8)
    commit_unit(folder, unit_id, unit_table(JOB, VIDEO, 0, 8), unit_facts(JOB, VIDEO, 0, 8))


def cut_off(root: os.PathLike[str], how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), how], capture_output=True, text=True, check=False
    )


def test_a_death_in_the_middle_leaves_a_hidden_part_and_the_old_content(tmp_path):
    folder = OutputFolder(str(tmp_path), LOCAL)
    folder.commit("detections/unit.parquet", b"old")

    done = cut_off(tmp_path, "dies")

    assert done.returncode == -signal.SIGXFSZ
    parts = [path for path in (tmp_path / "detections").iterdir() if is_temporary(path.name)]
    assert [part.stat().st_size for part in parts] == [65536]  # it was in the middle indeed
    assert folder.read("detections/unit.parquet") == b"old"

    assert folder.sweep(["detections"]) == 1
    assert [entry.name for entry in folder.list("detections")] == ["unit.parquet"]


def test_readers_pass_over_the_part_that_a_death_left(tmp_path):
    folder = OutputFolder(str(tmp_path), LOCAL)
    commit_the_unit(folder)
    rows = rows_seen(str(tmp_path), "detections")

    cut_off(tmp_path, "dies")

    assert rows_seen(str(tmp_path), "detections") == rows != []
    assert len(committed_units(folder)) == 1


def test_an_error_in_the_middle_leaves_nothing_and_is_reported(tmp_path):
    done = cut_off(tmp_path, "fails")

    assert "OutputUnavailable" in done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert list((tmp_path / "detections").iterdir()) == []


def test_an_error_after_the_rename_is_reported_though_the_content_is_whole(tmp_path, monkeypatch):
    folder = OutputFolder(str(tmp_path), LOCAL)
    commit_the_unit(folder)
    rows = rows_seen(str(tmp_path), "detections")
    flush = os.fsync

    def failing(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a link to the open file
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutputUnavailable, match=r"detections/.*Input/output error"):
        commit_the_unit(folder)
    monkeypatch.undo()

    assert rows_seen(str(tmp_path), "detections") == rows
    commit_the_unit(folder)  # as Spark does: the task runs again
    assert rows_seen(str(tmp_path), "detections") == rows
