from __future__ import annotations

import pytest

from carpool.errors import OutputUnavailable
from carpool.outputs.folder import OutputFolder
from carpool.outputs.layout import TABLES
from carpool.outputs.manifest import read_manifest
from carpool.outputs.result_hash import result_hash
from support.output_runs import LOCAL, Job, Video, repeated_rows, rows_seen, run
from support.watched_s3 import watched_s3

VIDEOS = (Video("a.mp4"), Video("sub/b.mp4", cuts=(5, 12)))
JOB = Job("job-1", VIDEOS, bad=frozenset({("a.mp4", 10)}))


@pytest.fixture
def s3(monkeypatch):
    with watched_s3(monkeypatch) as server:
        yield server


@pytest.fixture
def folder(s3):
    return OutputFolder(f"s3://{s3.bucket}/out", s3.storage)


def test_a_commit_is_one_put_and_nothing_else(s3, folder):
    folder.commit("detections/unit.parquet", b"x" * 5_000_000)
    folder.commit("_SUCCESS", b"")

    assert [str(each) for each in s3.requests] == [
        "PUT out/detections/unit.parquet",
        "PUT out/_SUCCESS",
    ]
    assert folder.read("detections/unit.parquet") == b"x" * 5_000_000
    assert folder.read("_SUCCESS") == b""


def test_a_large_commit_shows_its_object_only_when_all_parts_are_there(s3, folder):
    seen_before_the_end = []

    def look(request, body):
        if request.method == "POST" and "uploadId" in request.query:
            seen_before_the_end.append(folder.exists("tracks/large.parquet"))
        return False

    s3.interrupt = look
    folder.commit("tracks/large.parquet", b"x" * 25_000_000)

    assert seen_before_the_end == [False]
    assert folder.list("tracks")[0].size == 25_000_000


def test_a_large_commit_with_a_failed_part_leaves_nothing(s3, folder):
    def fail(request, body):
        if "partNumber=2" not in request.query:
            return False
        body.read()
        return True

    s3.interrupt = fail
    with pytest.raises(OutputUnavailable, match=r"cannot write s3://.*/out/tracks/large\.parquet"):
        folder.commit("tracks/large.parquet", b"x" * 25_000_000)

    assert folder.list("tracks") == ()


def test_a_refused_commit_says_what_and_where_and_leaves_the_old_content(s3, folder):
    folder.commit("a.json", b"old")

    def refuse(request, body):
        return request.method == "PUT" and bool(body.read())

    s3.interrupt = refuse
    with pytest.raises(
        OutputUnavailable, match=r"cannot write s3://.*/out/a\.json: .*ACCESS_DENIED"
    ):
        folder.commit("a.json", b"new")

    assert folder.read("a.json") == b"old"


def test_a_missing_bucket_is_unavailable(s3):
    folder = OutputFolder("s3://no-such-bucket-here/out", s3.storage)

    with pytest.raises(OutputUnavailable, match="cannot write s3://no-such-bucket-here/out/a"):
        folder.commit("a", b"x")


def test_a_job_writes_each_result_once_and_success_last(s3, folder):
    run(folder, JOB)

    written = [change for change in s3.changes() if change.startswith(("PUT", "POST"))]
    results = [change for change in written if any(f"out/{table}/" in change for table in TABLES)]
    assert len(results) == len(set(results)) == 5 + 2 * 2  # units, then tracks and summaries
    assert all(change.startswith("PUT") for change in written)
    assert written[0] == "PUT out/_carpool/owner.json"
    assert written[-2:] == ["PUT out/_manifest.json", "PUT out/_SUCCESS"]


def test_a_job_gives_the_same_as_on_a_local_disk(s3, folder, tmp_path):
    local = OutputFolder(str(tmp_path), LOCAL)
    run(local, JOB)
    run(folder, JOB)

    assert result_hash(folder) == result_hash(local)
    assert read_manifest(folder).totals == read_manifest(local).totals


def test_a_replaced_input_shows_each_row_once(s3, folder):
    run(folder, JOB)
    run(folder, Job("job-2", (VIDEOS[0], Video("sub/b.mp4", cuts=(5, 12), revision=1))))

    for table in TABLES:
        rows = rows_seen(f"{s3.bucket}/out", table, s3.filesystem)
        assert repeated_rows(rows, table) == []


def test_deleting_what_is_not_there_is_no_error(folder):
    folder.delete("a")
    folder.delete_tree("sub")

    assert folder.list(recursive=True) == ()


def test_overwrite_removes_the_old_results(s3, folder):
    run(folder, JOB)
    other = Job("job-2", (Video("c.mp4"),), fingerprint="model-b", mode="Overwrite")
    run(folder, other)

    rows = rows_seen(f"{s3.bucket}/out", "detections", s3.filesystem)
    assert {row["video_uri"] for row in rows} == {"file:///videos/c.mp4"}
    assert rows_seen(f"{s3.bucket}/out", "quarantine", s3.filesystem) == []
