"""A writer is killed at each of its steps: what readers see, and what the next attempt makes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carpool.outputs.commit import is_temporary
from carpool.outputs.completion import is_complete
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import TABLES
from carpool.outputs.manifest import read_manifest
from carpool.outputs.result_hash import result_hash
from support.output_runs import LOCAL, Job, Video, all_rows, repeated_rows, rows_seen, run

TESTS = Path(__file__).resolve().parents[2]

BEFORE = (Video("a.mp4", frames=8, cuts=(4,)), Video("b.mp4", frames=8, cuts=(4,)))
AFTER = (BEFORE[0], Video("b.mp4", frames=8, cuts=(4,), revision=1))
FIRST = Job("job-1", BEFORE, bad=frozenset({("a.mp4", 4)}))

SCENARIOS = {
    "first run": (None, FIRST),
    "an input was replaced": (FIRST, FIRST.having(uid="job-2", videos=AFTER)),
    "another cut": (
        FIRST,
        FIRST.having(uid="job-2", videos=(Video("a.mp4", frames=8, cuts=()), BEFORE[1])),
    ),
    "other tracking": (FIRST, FIRST.having(uid="job-2", tracking="track-b")),
    "no tracking any more": (FIRST, FIRST.having(uid="job-2", tracking="")),
    "overwritten by another model": (
        FIRST,
        Job("job-2", AFTER, fingerprint="model-b", mode="Overwrite"),
    ),
}

WRITING = {"open", "os.rename"}
KINDS = {
    "first run": {*WRITING, "os.mkdir"},
    "an input was replaced": {*WRITING, "delete"},
    "another cut": {*WRITING, "delete"},
    "other tracking": {*WRITING, "delete", "delete_tree", "halfway"},
    "no tracking any more": {*WRITING, "delete_tree", "halfway"},
    "overwritten by another model": {*WRITING, "delete", "delete_tree", "halfway", "os.mkdir"},
}


def killed_at_each_step(tmp_path: Path, start: Path, job: Job) -> list[dict[str, object]]:
    place = tmp_path / "killed"
    place.mkdir()
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    done = subprocess.run(
        [sys.executable, "-m", "support.output_kills", start, place, tmp_path / "job"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_after_a_kill_each_row_shows_once_or_not_yet_and_the_next_attempt_completes_it(
    tmp_path, scenario
):
    before, job = SCENARIOS[scenario]
    start, expected = tmp_path / "start", tmp_path / "expected"
    start.mkdir()
    if before:
        run(OutputFolder(str(start), LOCAL), before)
    old_rows = all_rows(str(start))
    run(OutputFolder(str(expected), LOCAL), job)
    expected_hash = result_hash(OutputFolder(str(expected), LOCAL))
    new_rows = all_rows(str(expected))

    deaths = killed_at_each_step(tmp_path, start, job)

    assert {death["signal"] for death in deaths} == {signal.SIGKILL}
    assert_steps_cover_everything(deaths, scenario)
    for death in deaths:
        folder, where = OutputFolder(str(death["root"]), LOCAL), death["where"]
        seen = {table: rows_seen(death["root"], table) for table in TABLES}
        for table in TABLES:
            assert repeated_rows(seen[table], table) == [], (where, table)
        assert_units_are_whole_and_in_one_table(seen, where)
        if is_complete(folder):
            assert all_rows(death["root"]) in (old_rows, new_rows), where

        run(folder, job)

        assert result_hash(folder) == expected_hash, where
        assert all_rows(death["root"]) == new_rows, where
        assert left_behind(Path(death["root"])) == [], where
        assert_manifest_is_true(folder, death["root"])


def assert_steps_cover_everything(deaths: list[dict[str, object]], scenario: str) -> None:
    """The harness itself: were its hooks blind, the test would prove nothing."""
    wheres = [str(death["where"]) for death in deaths]
    kinds = {where.split(" ", maxsplit=1)[0] for where in wheres}
    assert kinds >= KINDS[scenario]
    assert any("_SUCCESS" in where and "os.rename" in where for where in wheres)


def assert_units_are_whole_and_in_one_table(
    seen: dict[str, list[dict[str, object]]], where: object
) -> None:
    detections: dict[object, int] = {}
    for row in seen["detections"]:
        detections[row["unit_id"]] = detections.get(row["unit_id"], 0) + 1
    # Every unit of these scenes spans frames 0-3 or 4-7, or both: 0 + 1 + 2 + 3 objects each.
    assert set(detections.values()) <= {6, 12}, where
    assert not detections.keys() & {row["unit_id"] for row in seen["quarantine"]}, where


def assert_manifest_is_true(folder: OutputFolder, root: object) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    for table in TABLES:
        listed = {entry.path: entry.size for entry in folder.list(table) if entry.is_file}
        assert {file.path: file.bytes for file in manifest.files[table]} == listed
        assert sum(file.rows for file in manifest.files[table]) == len(rows_seen(root, table))


def left_behind(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if is_temporary(path.name)]
