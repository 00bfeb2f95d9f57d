from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from carpool.errors import OutputUnavailable
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import table_file
from carpool.outputs.parquet import TableBuffer
from carpool.outputs.tables import QUARANTINE, TRACK_SUMMARY, TRACKS
from carpool.outputs.units import (
    QuarantineRow,
    TrackFacts,
    UnitFacts,
    commit_quarantine,
    commit_tracks,
    commit_unit,
    committed_tracks,
    committed_units,
    forget_quarantined,
    remove_tracks,
)
from support.output_runs import (
    LOCAL,
    Job,
    Video,
    rows_seen,
    run_unit,
    track_video,
    unit_facts,
    unit_table,
)

VIDEO = Video("a.mp4", frames=8, cuts=(4,))
JOB = Job("job", (VIDEO,))
FIRST, SECOND = JOB.unit_ids(VIDEO)
BAD_UNIT = QuarantineRow(
    unit_id=FIRST,
    video_uri=VIDEO.uri,
    first_frame=0,
    frames=4,
    reason="FramesMissing",
    message="2 of 4 frames could be had",
    frames_given=2,
    frames_expected=4,
    seconds=0.25,
)


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(str(tmp_path), LOCAL)


def test_an_empty_folder_has_no_units(folder):
    assert committed_units(folder) == {}
    assert committed_tracks(folder, "track-a") == {}


def test_a_units_account_is_read_back(folder):
    table, facts = unit_table(JOB, VIDEO, 0, 4), unit_facts(JOB, VIDEO, 0, 4)

    written = commit_unit(folder, FIRST, table, facts)

    assert written == facts.model_copy(update={"rows": table.num_rows})
    assert committed_units(folder) == {FIRST: written}
    assert pq.read_table(f"{folder.uri}/detections/{FIRST}.parquet").equals(table)


def test_a_unit_that_runs_twice_shows_its_rows_once(folder):
    for _ in range(2):
        run_unit(folder, JOB, VIDEO, 0, 4)

    assert len(rows_seen(folder.uri, "detections")) == 6


def test_a_quarantined_unit_is_a_row_that_says_why(folder):
    before = datetime.now(UTC)

    facts = commit_quarantine(folder, BAD_UNIT)

    (row,) = rows_seen(folder.uri, "quarantine")
    assert timedelta(0) <= row.pop("time") - before < timedelta(minutes=1)
    assert row == {
        "unit_id": FIRST,
        "video_uri": VIDEO.uri,
        "first_frame": 0,
        "frames": 4,
        "reason": "FramesMissing",
        "message": "2 of 4 frames could be had",
        "frames_given": 2,
        "frames_expected": 4,
    }
    assert QUARANTINE.names == [*row, "time"]
    assert facts == UnitFacts(
        unit_id=FIRST,
        video_uri=VIDEO.uri,
        frames=4,
        seconds=0.25,
        quarantined="FramesMissing",
    )
    assert committed_units(folder) == {FIRST: facts}
    assert rows_seen(folder.uri, "detections") == []


def test_a_file_without_index_counts_as_one_frame(folder):
    row = QuarantineRow(
        unit_id="u",
        video_uri="v",
        first_frame=0,
        frames=None,
        reason="Undecodable",
        message="no video stream",
        frames_given=0,
        frames_expected=None,
    )

    assert commit_quarantine(folder, row).frames == 1
    assert rows_seen(folder.uri, "quarantine")[0]["frames"] is None


def test_a_unit_with_detections_is_not_quarantined(folder):
    run_unit(folder, JOB, VIDEO, 0, 4)

    assert commit_quarantine(folder, BAD_UNIT) is None

    assert rows_seen(folder.uri, "quarantine") == []
    assert committed_units(folder)[FIRST].quarantined == ""


def test_a_quarantined_unit_that_gets_detections_is_released(folder):
    commit_quarantine(folder, BAD_UNIT)

    run_unit(folder, JOB, VIDEO, 0, 4)

    assert rows_seen(folder.uri, "quarantine") == []
    assert committed_units(folder)[FIRST].rows == 6


def test_detections_win_where_two_runs_came_to_different_ends(folder):
    commit_quarantine(folder, BAD_UNIT)
    quarantine = folder.read(table_file("quarantine", FIRST))
    run_unit(folder, JOB, VIDEO, 0, 4)
    folder.commit(table_file("quarantine", FIRST), quarantine)

    assert committed_units(folder)[FIRST].quarantined == ""


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 70_000])
def test_a_damaged_file_counts_as_absent(folder, damage, caplog):
    run_unit(folder, JOB, VIDEO, 0, 4)
    run_unit(folder, JOB, VIDEO, 4, 8)
    folder.commit(table_file("detections", FIRST), damage)

    assert set(committed_units(folder)) == {SECOND}
    assert FIRST in caplog.text


def test_names_that_are_no_units_are_passed_over(folder):
    run_unit(folder, JOB, VIDEO, 0, 4)
    for name in ("_SUCCESS", ".part.parquet", "_x.parquet", "notes.txt", "deep/u.parquet"):
        folder.commit(f"detections/{name}", b"x")

    assert set(committed_units(folder)) == {FIRST}


def test_a_large_footer_is_read_whole(folder):
    facts = unit_facts(JOB, VIDEO, 0, 4).model_copy(update={"host": {"long": "x" * 200_000}})

    written = commit_unit(folder, FIRST, unit_table(JOB, VIDEO, 0, 4), facts)

    assert committed_units(folder) == {FIRST: written}


def test_many_units_are_listed(folder):
    video = Video("a.mp4", frames=200, cuts=tuple(range(2, 200, 2)))
    for first, end in video.ranges:
        run_unit(folder, JOB, video, first, end)

    units = committed_units(folder)
    assert set(units) == set(JOB.unit_ids(video))
    assert sum(facts.frames for facts in units.values()) == 200


def test_a_tracked_video_is_read_back(folder):
    run_unit(folder, JOB, VIDEO, 0, 4)
    run_unit(folder, JOB, VIDEO, 4, 8)

    track_video(folder, JOB, VIDEO)

    assert committed_tracks(folder, "track-a") == {
        JOB.video_id(VIDEO): TrackFacts(
            video_id=JOB.video_id(VIDEO),
            video_uri=VIDEO.uri,
            tracking_fingerprint="track-a",
            frames=8,
            rows=6,
            tracks=2,
        )
    }
    assert len(rows_seen(folder.uri, "tracks")) == 6
    assert len(rows_seen(folder.uri, "track_summary")) == 2


def test_tracks_of_other_parameters_do_not_count(folder):
    run_unit(folder, JOB, VIDEO, 0, 4)
    run_unit(folder, JOB, VIDEO, 4, 8)
    track_video(folder, JOB, VIDEO)

    assert committed_tracks(folder, "track-b") == {}


class DeadAfter:
    """An output folder whose writer dies after some commits."""

    def __init__(self, folder, commits):
        self._folder, self._left = folder, commits

    def commit(self, relative, data):
        if not self._left:
            raise OutputUnavailable("dead")
        self._left -= 1
        self._folder.commit(relative, data)


def test_a_video_with_its_summary_alone_is_not_tracked_and_shows_once_when_it_is(folder):
    facts = TrackFacts(video_id="v", video_uri="u", tracking_fingerprint="t", frames=1)
    summary = TRACK_SUMMARY.empty_table()

    with pytest.raises(OutputUnavailable):
        commit_tracks(DeadAfter(folder, 1), facts, TableBuffer(TRACKS), summary)

    assert [entry.name for entry in folder.list("track_summary")] == ["v.parquet"]
    assert committed_tracks(folder, "t") == {}

    commit_tracks(folder, facts, TableBuffer(TRACKS), summary)
    assert set(committed_tracks(folder, "t")) == {"v"}


def test_a_video_with_its_tracks_alone_is_not_tracked(folder):
    facts = TrackFacts(video_id="v", video_uri="u", tracking_fingerprint="t", frames=1)
    commit_tracks(folder, facts, TableBuffer(TRACKS), TRACK_SUMMARY.empty_table())
    folder.delete("track_summary/v.parquet")

    assert committed_tracks(folder, "t") == {}


def test_forgetting_a_quarantined_unit_makes_it_and_its_video_undone(folder):
    job = JOB.having(bad=frozenset({("a.mp4", 0)}))
    run_unit(folder, job, VIDEO, 0, 4)
    run_unit(folder, job, VIDEO, 4, 8)
    track_video(folder, job, VIDEO)

    forget_quarantined(folder, [FIRST], [JOB.video_id(VIDEO)])

    assert set(committed_units(folder)) == {SECOND}
    assert committed_tracks(folder, "track-a") == {}
    assert rows_seen(folder.uri, "track_summary") == []


def test_removing_tracks_takes_the_tracks_before_their_summary():
    removed = []

    class Recorder:
        def delete(self, relative):
            removed.append(relative)

    remove_tracks(Recorder(), ["v", "w"])

    assert {path.split("/")[0] for path in removed[:2]} == {"tracks"}
    assert {path.split("/")[0] for path in removed[2:]} == {"track_summary"}


def test_facts_that_this_carpool_cannot_read_make_the_unit_run_again(folder):
    from carpool.outputs.parquet import encode

    folder.commit(
        table_file("detections", FIRST), encode(unit_table(JOB, VIDEO, 0, 4), {"else": 1})
    )

    assert committed_units(folder) == {}
