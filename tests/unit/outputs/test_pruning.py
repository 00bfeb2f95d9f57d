from __future__ import annotations

import pytest

from carpool.errors import OutputSuperseded
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import TABLES, table_file
from carpool.outputs.ownership import claim
from carpool.outputs.pruning import prune
from support.output_runs import LOCAL, Job, Video, repeated_rows, rows_seen, run

A, B = Video("a.mp4", frames=8, cuts=(4,)), Video("b.mp4", frames=8, cuts=(4,))
JOB = Job("job", (A, B), bad=frozenset({("a.mp4", 4)}))


@pytest.fixture
def folder(tmp_path):
    folder = OutputFolder(str(tmp_path), LOCAL)
    run(folder, JOB)
    return folder


def prune_to(folder, *videos, tracked=True, uid="job"):
    return prune(
        folder,
        uid,
        unit_ids=[unit for video in videos for unit in JOB.unit_ids(video)],
        video_ids=[JOB.video_id(video) for video in videos if tracked],
    )


def names(folder, table):
    return {entry.name for entry in folder.list(table)}


def test_nothing_is_removed_where_all_is_planned(folder):
    assert prune_to(folder, A, B) == 0
    assert folder.exists("_SUCCESS")
    assert folder.exists("_manifest.json")


def test_an_input_that_was_taken_away_leaves_nothing(folder):
    assert prune_to(folder, B) == 1 + 1 + 2  # unit, quarantined unit, tracks and summary

    for table in TABLES:
        assert {row["video_uri"] for row in rows_seen(folder.uri, table)} <= {B.uri}
    assert len(rows_seen(folder.uri, "detections")) == 12


def test_a_replaced_input_leaves_its_place_before_the_new_rows_come(folder):
    replaced = Video("b.mp4", frames=8, cuts=(4,), revision=1)

    prune_to(folder, A, replaced)

    assert {row["video_uri"] for row in rows_seen(folder.uri, "detections")} == {A.uri}
    assert {row["video_uri"] for row in rows_seen(folder.uri, "tracks")} == {A.uri}


def test_a_folder_that_loses_a_file_is_no_longer_complete(folder):
    prune_to(folder, A)

    assert not folder.exists("_SUCCESS")
    assert not folder.exists("_manifest.json")


def test_the_mark_goes_before_the_first_file(folder, monkeypatch):
    deleted = []
    delete = OutputFolder.delete
    monkeypatch.setattr(
        OutputFolder, "delete", lambda self, path: (deleted.append(path), delete(self, path))
    )

    prune_to(folder, A)

    assert deleted[:2] == ["_SUCCESS", "_manifest.json"]
    assert [path.split("/")[0] for path in deleted[2:]] == [
        "tracks",
        "track_summary",
        "detections",
        "detections",
    ]


def test_without_tracking_there_are_no_tracks(folder):
    assert prune_to(folder, A, B, tracked=False) == 4
    assert names(folder, "tracks") == names(folder, "track_summary") == set()
    assert len(names(folder, "detections")) == 3


def test_a_unit_with_detections_loses_its_quarantine_row(folder):
    detected = JOB.unit_id(A, 0, 4)
    quarantined = folder.read(table_file("quarantine", JOB.unit_id(A, 4, 8)))
    folder.commit(table_file("quarantine", detected), quarantined)

    assert prune_to(folder, A, B) == 1
    assert names(folder, "quarantine") == {f"{JOB.unit_id(A, 4, 8)}.parquet"}


@pytest.mark.parametrize("stray", ["stray.parquet", "deep/stray.parquet", "stray.csv"])
def test_what_a_reader_would_see_and_the_plan_does_not_explain_is_removed(folder, stray):
    folder.commit(f"detections/{stray}", b"x")

    assert prune_to(folder, A, B) == 1
    assert not folder.exists(f"detections/{stray}")


@pytest.mark.parametrize("hidden", [".crc", "_metadata", "_temporary/part.parquet"])
def test_what_a_reader_passes_over_stays(folder, hidden):
    folder.commit(f"detections/{hidden}", b"x")

    assert prune_to(folder, A, B) == 0
    assert folder.exists(f"detections/{hidden}")


def test_a_superseded_job_removes_nothing(folder):
    claim(folder, "Resume", JOB.having(uid="other").claimant)

    with pytest.raises(OutputSuperseded):
        prune_to(folder, A)

    assert len(rows_seen(folder.uri, "detections")) == 18
    assert folder.exists("_SUCCESS")


def test_a_run_over_a_replaced_input_shows_each_row_once(folder):
    replaced = Video("b.mp4", frames=8, cuts=(4,), revision=1)

    run(folder, JOB.having(uid="next", videos=(A, replaced)))

    for table in TABLES:
        assert repeated_rows(rows_seen(folder.uri, table), table) == []
    assert len(rows_seen(folder.uri, "detections")) == 18
