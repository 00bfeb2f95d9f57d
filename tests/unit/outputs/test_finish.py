from __future__ import annotations

import json
import platform
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from carpool.errors import OutputNotOurs, OutputSuperseded, OutputUnavailable
from carpool.outputs import finish as finish_module
from carpool.outputs.completion import is_complete
from carpool.outputs.finish import finish
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import table_file
from carpool.outputs.manifest import Failure, Totals, read_manifest
from carpool.outputs.ownership import claim
from support.output_runs import LOCAL, Job, Video, finished_work, run, run_unit, track_video

VIDEO, OTHER = Video("a.mp4", frames=8, cuts=(4,)), Video("b.mp4", frames=8, cuts=())
JOB = Job("job", (VIDEO, OTHER))


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(str(tmp_path), LOCAL)


@pytest.fixture
def done(folder):
    """A folder in which all work is done and nothing is finished."""
    claim(folder, "Resume", JOB.claimant)
    for video in JOB.videos:
        for first, end in video.ranges:
            run_unit(folder, JOB, video, first, end)
        track_video(folder, JOB, video)
    return folder


def test_a_folder_without_manifest_is_not_complete(folder):
    assert read_manifest(folder) is None
    assert not is_complete(folder)


def test_the_manifest_describes_what_is_there(done):
    manifest = finish(done, "job", finished_work(JOB))

    assert read_manifest(done) == manifest
    assert is_complete(done)
    assert (manifest.job_name, manifest.job_uid) == ("name-of-job", "job")
    assert manifest.phase == "Succeeded"
    assert timedelta(0) <= datetime.now(UTC) - manifest.finished < timedelta(minutes=1)
    assert manifest.versions["python"] == platform.python_version()
    assert manifest.versions["pyarrow"] == pa.__version__
    assert manifest.settings == {"model": {"uri": "model-a"}}
    assert manifest.tracking_settings == {"algorithm": "track-a"}
    assert [(each.path, each.frames) for each in manifest.inputs] == [("a.mp4", 8), ("b.mp4", 8)]
    files = [file for table in manifest.files.values() for file in table]
    assert len(files) == 3 + 2 + 2
    assert manifest.totals == Totals(
        inputs=2,
        frames=16,
        detections=24,
        tracked_videos=2,
        tracks=4,
        tracked_detections=12,
        quarantined_units=0,
        quarantined_frames=0,
        bytes=sum(file.bytes for file in files),
    )


def test_names_in_the_manifest_are_those_of_the_job_file(done):
    finish(done, "job", finished_work(JOB))

    manifest = json.loads(done.read("_manifest.json"))
    assert set(manifest) == {
        "jobName",
        "jobUid",
        "phase",
        "finished",
        "seconds",
        "versions",
        "fingerprint",
        "settings",
        "trackingFingerprint",
        "trackingSettings",
        "inputs",
        "files",
        "totals",
        "failures",
        "host",
    }
    assert set(manifest["files"]) == {"detections", "tracks", "track_summary", "quarantine"}
    assert set(manifest["inputs"][0]) == {"uri", "path", "size", "modifiedNs", "frames", "videoId"}


def test_a_quarantined_unit_makes_the_job_partially_succeeded(folder):
    run(folder, JOB.having(bad=frozenset({("a.mp4", 4)})))

    manifest = read_manifest(folder)
    assert manifest.phase == "PartiallySucceeded"
    assert manifest.totals.quarantined_units == 1
    assert manifest.totals.quarantined_frames == 4
    assert manifest.totals.frames == 12


def test_the_last_ten_failures_are_kept(done):
    failures = [
        Failure(unit_id=str(number), video_uri="v", reason="Undecodable", message="no")
        for number in range(15)
    ]
    work = finished_work(JOB)
    manifest = finish(done, "job", type(work)(**{**fields(work), "failures": failures}))

    assert [failure.unit_id for failure in manifest.failures] == [str(n) for n in range(5, 15)]


def fields(work):
    return {name: getattr(work, name) for name in work.__slots__}


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("detections", "work units"),
        ("tracks", "tracked videos"),
        ("track_summary", "tracked videos"),
    ],
)
def test_a_result_that_is_missing_keeps_the_job_from_its_end(done, table, what):
    lost = JOB.unit_id(OTHER, 0, 8) if table == "detections" else JOB.video_id(OTHER)
    done.delete(table_file(table, lost))

    with pytest.raises(OutputUnavailable, match=f"lacks the results of 1 {what}") as caught:
        finish(done, "job", finished_work(JOB))

    assert lost in str(caught.value)
    assert not is_complete(done)
    assert read_manifest(done) is None


def test_results_of_units_outside_the_plan_are_removed_first(done):
    run_unit(done, JOB, Video("late.mp4", frames=4, cuts=()), 0, 4)

    manifest = finish(done, "job", finished_work(JOB))

    assert manifest.totals.detections == 24
    assert len(done.list("detections")) == 3


def test_leftovers_of_interrupted_commits_are_swept(done):
    done.commit("detections/.u.parquet.0.carpool-tmp", b"cut off")

    finish(done, "job", finished_work(JOB))

    assert len(done.list("detections")) == 3


def test_a_superseded_job_does_not_finish(done):
    claim(done, "Resume", JOB.having(uid="other").claimant)

    with pytest.raises(OutputSuperseded):
        finish(done, "job", finished_work(JOB))

    assert not is_complete(done)


def test_a_job_that_is_superseded_while_it_finishes_does_not_mark_the_folder(done, monkeypatch):
    write = finish_module.write_manifest

    def lose(folder, manifest):
        write(folder, manifest)
        claim(folder, "Resume", JOB.having(uid="other").claimant)

    monkeypatch.setattr(finish_module, "write_manifest", lose)
    with pytest.raises(OutputSuperseded):
        finish(done, "job", finished_work(JOB))

    assert not is_complete(done)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"jobName": 1}'])
def test_a_manifest_of_somebody_else_is_not_ours(folder, content):
    folder.commit("_manifest.json", content)

    with pytest.raises(OutputNotOurs, match=r"_manifest\.json is not what Carpool writes"):
        read_manifest(folder)
