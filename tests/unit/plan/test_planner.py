from __future__ import annotations

import pickle

import pytest

from carpool.errors import InputUnavailable
from carpool.inputs.filesystem import StorageOptions, expand
from carpool.inputs.video_decode import decode_frames
from carpool.plan.planner import plan_videos
from support.clips import FPS, HEIGHT, WIDTH, index_first, truncate, write_clip
from support.s3 import flaky_s3

LOCAL = StorageOptions()


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


def plan(files, scratch, storage=LOCAL, **options):
    defaults = {"chunk_seconds": 1, "every_nth": 1, "fingerprint": "f" * 32}
    return plan_videos(files, storage=storage, scratch=scratch, **defaults | options)


def folder_of_clips(folder):
    folder.mkdir()
    write_clip(folder / "a.mp4", 60)
    write_clip(folder / "b.avi", 30, "MPG2")
    (folder / "c.mp4").write_bytes(b"")
    (folder / "d.mp4").write_text("this is a text")
    truncate(write_clip(folder / "e.mp4", 60))
    truncate(index_first(write_clip(folder / "f.mp4", 60)))
    return folder


def test_every_file_is_planned_or_unreadable_in_the_order_of_the_files(tmp_path, scratch):
    files = expand([f"{folder_of_clips(tmp_path / 'in')}/*"], LOCAL)
    done = []
    planned = plan(files, scratch, on_indexed=lambda *counts: done.append(counts))
    assert done == [(count, 6) for count in range(1, 7)]
    assert [video.file.path for video in planned.videos] == ["a.mp4", "b.avi", "f.mp4"]
    assert [video.frames for video in planned.videos] == [60, 30, 60]
    assert [len(video.units) for video in planned.videos] == [3, 1, 2]
    assert planned.total_frames == 150
    assert [(it.file.path, it.reason) for it in planned.unreadable] == [
        ("c.mp4", "Undecodable"),
        ("d.mp4", "Undecodable"),
        ("e.mp4", "Undecodable"),
    ]
    assert "is empty" in planned.unreadable[0].message
    assert "is truncated" in planned.unreadable[2].message
    assert len({unit.unit_id for unit in planned.units}) == 6
    assert list((scratch / "private").iterdir()) == []
    first = planned.videos[0]
    assert (first.width, first.height, first.fps) == (WIDTH, HEIGHT, FPS)
    assert {unit.video_id for unit in first.units} == {first.video_id}


def test_units_travel_to_other_processes(tmp_path, scratch):
    path = write_clip(tmp_path / "a.mp4", 60)
    planned = plan(expand([str(path)], LOCAL), scratch)
    units = pickle.loads(pickle.dumps(planned.units))  # noqa: S301 - just made here
    frames = [frame.index for unit in units for frame in decode_frames(path, unit.frames)]
    assert frames == list(range(60))


def test_frames_are_counted_after_sampling_and_empty_units_left_out(tmp_path, scratch):
    files = expand([str(write_clip(tmp_path / "a.mp4", 60))], LOCAL)
    planned = plan(files, scratch, every_nth=25, chunk_seconds=0)
    assert planned.total_frames == 3
    assert [(unit.frames.first, unit.expected) for unit in planned.units] == [
        (0, 1),
        (24, 1),
        (48, 1),
    ]


def test_a_plan_is_the_same_each_time_and_another_for_another_model(tmp_path, scratch):
    files = expand([str(write_clip(tmp_path / "a.mp4", 60))], LOCAL)
    one, again = plan(files, scratch), plan(files, scratch)
    other = plan(files, scratch, fingerprint="e" * 32)
    assert [unit.unit_id for unit in one.units] == [unit.unit_id for unit in again.units]
    assert not {it.unit_id for it in one.units} & {it.unit_id for it in other.units}


def test_a_file_that_vanishes_ends_planning(tmp_path, scratch):
    path = write_clip(tmp_path / "a.mp4", 30)
    files = expand([str(path)], LOCAL)
    path.unlink()
    with pytest.raises(InputUnavailable, match=r"a\.mp4"):
        plan(files, scratch)


def test_remote_files_are_planned_and_their_copies_removed(tmp_path, scratch, monkeypatch):
    folder = folder_of_clips(tmp_path / "in")
    local = plan(expand([f"{folder}/*"], LOCAL), scratch)
    with flaky_s3(monkeypatch) as server:
        for path in folder.iterdir():
            server.put(f"in/{path.name}", path)
        files = expand([f"s3://{server.bucket}/in/*"], server.storage)
        remote = plan(files, scratch, server.storage)
        server.fault = "error"
        with pytest.raises(InputUnavailable):
            plan(files[:1], scratch, server.storage)
    assert [it.file.path for it in remote.videos] == [it.file.path for it in local.videos]
    for one, other in zip(remote.units, local.units, strict=True):
        assert one.frames.pts_ns.tolist() == other.frames.pts_ns.tolist()
        assert one.expected == other.expected
        assert one.unit_id != other.unit_id
    assert [it.reason for it in remote.unreadable] == [it.reason for it in local.unreadable]
    assert [path for path in scratch.rglob("*") if path.is_file()] == []
