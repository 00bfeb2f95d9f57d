from __future__ import annotations

import json

import pytest

from carpool.errors import (
    OutputExists,
    OutputMismatch,
    OutputNotOurs,
    OutputSuperseded,
    OutputUnavailable,
)
from carpool.outputs import ownership
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import OWNER, TABLES
from carpool.outputs.ownership import Claim, Claimant, assert_owner, claim, read_owner
from support.output_runs import LOCAL, Job, Video, all_rows, run

JOB = Job("old", (Video("a.mp4", frames=8, cuts=(4,)),), bad=frozenset({("a.mp4", 4)}))
SAME, OTHER_MODEL = JOB.having(uid="new"), JOB.having(uid="new", fingerprint="model-b")
OTHER_TRACKING = JOB.having(uid="new", tracking="track-b")
OLD_ATTEMPT = JOB


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(str(tmp_path), LOCAL)


def nothing(folder):
    pass


def hidden_files(folder):
    folder.commit(".DS_Store", b"x")
    folder.commit("_carpool/.owner.json.0.carpool-tmp", b"cut off")


def foreign(folder):
    folder.commit("photos/deep/cat.jpg", b"meow")


def claimed(folder):
    claim(folder, "Resume", JOB.claimant)


def finished(folder):
    run(folder, JOB)


def foreign_beside_results(folder):
    run(folder, JOB)
    foreign(folder)


FRESH = Claim(resumed=False, previous_uid=None, cleared="Nothing")
TAKEN = Claim(resumed=True, previous_uid="old", cleared="Nothing")
RETRACKED = Claim(resumed=True, previous_uid="old", cleared="Tracks")
EMPTIED = Claim(resumed=False, previous_uid="old", cleared="Everything")

TABLE = [
    # what is there, who comes, Error, Overwrite, Resume
    (nothing, SAME, FRESH, FRESH, FRESH),
    (hidden_files, SAME, FRESH, FRESH, FRESH),
    (foreign, SAME, OutputExists, OutputNotOurs, OutputNotOurs),
    (claimed, SAME, OutputExists, EMPTIED, TAKEN),
    (finished, SAME, OutputExists, EMPTIED, TAKEN),
    (finished, OTHER_MODEL, OutputExists, EMPTIED, OutputMismatch),
    (finished, OTHER_TRACKING, OutputExists, EMPTIED, RETRACKED),
    (foreign_beside_results, SAME, OutputExists, EMPTIED, TAKEN),
    # A later attempt of the same job goes on, whatever the mode.
    (claimed, OLD_ATTEMPT, TAKEN, TAKEN, TAKEN),
    (finished, OLD_ATTEMPT, TAKEN, TAKEN, TAKEN),
    (finished, OTHER_MODEL.having(uid="old"), OutputMismatch, OutputMismatch, OutputMismatch),
    (finished, OTHER_TRACKING.having(uid="old"), RETRACKED, RETRACKED, RETRACKED),
]


@pytest.mark.parametrize("mode", ["Error", "Overwrite", "Resume"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].__name__} {row[1].uid}")
def test_each_mode_in_each_state(folder, tmp_path, row, mode):
    prepare, job, *outcomes = row
    outcome = outcomes[("Error", "Overwrite", "Resume").index(mode)]
    prepare(folder)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    before = all_rows(str(tmp_path))

    if isinstance(outcome, Claim):
        assert claim(folder, mode, job.claimant) == outcome
        assert read_owner(folder).job_uid == job.uid
        assert read_owner(folder).clearing == "Nothing"
        after = all_rows(str(tmp_path))
        cleared = {"Nothing": (), "Tracks": ("tracks", "track_summary"), "Everything": TABLES}
        for table in TABLES:
            expected = [] if table in cleared[outcome.cleared] else before[table]
            assert after[table] == expected
        assert folder.exists("_SUCCESS") == (prepare is not claimed) * (
            outcome.cleared == "Nothing" and outcome.resumed
        )
    else:
        with pytest.raises(outcome):
            claim(folder, mode, job.claimant)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == files
    assert (tmp_path / "photos/deep/cat.jpg").exists() == (
        prepare in {foreign, foreign_beside_results}
    )


def test_overwrite_removes_all_that_is_carpools_and_nothing_else(folder, tmp_path):
    run(folder, JOB)
    for name in ("contact-sheet.jpg", "_carpool/notes.json", "notes.txt", "tracks/stray.parquet"):
        folder.commit(name, b"x")

    claim(folder, "Overwrite", SAME.claimant)

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"notes.txt", "_carpool", "_carpool/owner.json"}


def test_a_mismatch_names_what_differs(folder):
    def claimant(uid, **parameters):
        return Claimant(
            job_uid=uid,
            job_name="night-run",
            fingerprint=str(parameters),
            settings={"model": {"uri": "yolo.pt2", "parameters": parameters}},
        )

    claim(
        folder, "Resume", claimant("old", scoreThreshold=0.25, classes=("car",), resize="Stretch")
    )

    with pytest.raises(OutputMismatch) as caught:
        claim(folder, "Resume", claimant("new", scoreThreshold=0.3, classes=("car",), topK=5))

    message = str(caught.value)
    assert (
        'model.parameters.resize: was "Stretch", now not set; '
        "model.parameters.scoreThreshold: was 0.25, now 0.3; "
        "model.parameters.topK: was not set, now 5."
    ) in message
    assert "'night-run'" in message
    assert "classes" not in message
    assert "Overwrite" in message


def test_a_mismatch_of_the_fingerprint_alone_is_one_too(folder):
    claim(folder, "Resume", JOB.claimant)
    same_settings = JOB.claimant.model_copy(update={"job_uid": "new", "fingerprint": "other"})

    with pytest.raises(OutputMismatch, match="their fingerprint differs"):
        claim(folder, "Resume", same_settings)


def test_what_is_not_ours_is_named(folder):
    foreign(folder)

    with pytest.raises(OutputNotOurs, match=r"photos/deep/cat\.jpg.*empty the folder yourself"):
        claim(folder, "Overwrite", JOB.claimant)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"not json", b'{"jobUid": 3}'])
def test_an_owner_file_of_somebody_else_is_not_ours(folder, content):
    folder.commit(OWNER, content)

    with pytest.raises(OutputNotOurs, match=r"_carpool/owner\.json is not what Carpool writes"):
        claim(folder, "Overwrite", JOB.claimant)


def test_an_owner_file_of_a_newer_carpool_is_understood(folder):
    claim(folder, "Resume", JOB.claimant)
    owner = json.loads(folder.read(OWNER))
    folder.commit(OWNER, json.dumps({**owner, "invented": {"later": True}}).encode())

    assert claim(folder, "Resume", SAME.claimant) == TAKEN


def test_the_owner_file_says_who_and_with_what(folder):
    claim(folder, "Resume", JOB.claimant)

    owner = json.loads(folder.read(OWNER))
    assert owner.pop("time")
    assert owner.pop("version")
    assert owner == {
        "jobUid": "old",
        "jobName": "name-of-old",
        "fingerprint": "model-a",
        "settings": {"model": {"uri": "model-a"}},
        "trackingFingerprint": "track-a",
        "trackingSettings": {"algorithm": "track-a"},
        "clearing": "Nothing",
    }


@pytest.mark.parametrize("mode", ["Error", "Overwrite", "Resume"])
def test_clearing_that_was_cut_off_is_taken_up_by_the_next_attempt(folder, monkeypatch, mode):
    run(folder, JOB)

    def cut_off(*_):
        raise OutputUnavailable("the storage went away")

    with monkeypatch.context() as patch:
        patch.setattr(ownership, "_clear", cut_off)
        with pytest.raises(OutputUnavailable):
            claim(folder, "Overwrite", OTHER_MODEL.claimant)
    assert folder.list("detections")

    assert claim(folder, mode, OTHER_MODEL.claimant).cleared == "Everything"
    assert folder.list("detections") == ()


def test_clearing_that_was_cut_off_is_taken_up_by_another_job(folder, monkeypatch):
    run(folder, JOB)
    with monkeypatch.context() as patch:
        patch.setattr(ownership, "_clear", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            claim(folder, "Resume", OTHER_TRACKING.claimant)

    third = OTHER_TRACKING.having(uid="third")
    assert claim(folder, "Resume", third.claimant).cleared == "Tracks"
    assert folder.list("tracks") == ()


def test_a_job_finds_out_that_it_was_superseded(folder):
    claim(folder, "Resume", JOB.claimant)
    assert assert_owner(folder, "old").job_uid == "old"

    claim(folder, "Resume", SAME.claimant)

    with pytest.raises(OutputSuperseded, match=r"taken over by job 'name-of-new' \(new\)"):
        assert_owner(folder, "old")


def test_a_job_finds_out_that_its_folder_was_deleted(folder):
    claim(folder, "Resume", JOB.claimant)
    folder.delete(OWNER)

    with pytest.raises(OutputSuperseded, match="is gone"):
        assert_owner(folder, "old")


def test_of_two_claims_in_the_same_moment_the_last_one_holds(folder, monkeypatch):
    write = ownership._write_owner

    def write_and_lose(folder, claimant, clearing):
        write(folder, claimant, clearing)
        write(folder, SAME.claimant, clearing)

    with monkeypatch.context() as patch:
        patch.setattr(ownership, "_write_owner", write_and_lose)
        with pytest.raises(OutputSuperseded):
            claim(folder, "Resume", JOB.claimant)

    assert read_owner(folder).job_uid == "new"


def test_a_claim_sweeps_what_interrupted_commits_left(folder, tmp_path):
    claim(folder, "Resume", JOB.claimant)
    folder.commit("detections/.unit.parquet.0.carpool-tmp", b"cut off")

    claim(folder, "Resume", JOB.claimant)

    assert list((tmp_path / "detections").iterdir()) == []
