"""The track task: one video's unit files in, its tracks out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest

from carpool.inputs.filesystem import InputFile, StorageOptions
from carpool.inputs.video_decode import FrameRange
from carpool.outputs.folder import OutputFolder
from carpool.outputs.ownership import Claimant, claim
from carpool.outputs.tables import detections_table
from carpool.outputs.units import UnitFacts, commit_unit
from carpool.plan.units import VideoPlan, WorkUnit
from carpool.spark.job_context import JobContext, Tracking
from carpool.spark.track import TrackWork, track_video

FPS = 25
BOXES = 20


def plan(units: int, frames: int, every_nth: int = 1) -> VideoPlan:
    """A video of so many units of so many frames each."""
    file = InputFile("file:///videos/a.mp4", "a.mp4", 1, 1)
    pts = np.arange(units * frames, dtype=np.int64) * (10**9 // FPS)
    cut = [
        WorkUnit(
            f"unit-{number:03}",
            "video",
            file,
            FrameRange(number * frames, pts[number * frames : (number + 1) * frames]),
            every_nth,
            len(range(-number * frames % every_nth, frames, every_nth)),
        )
        for number in range(units)
    ]
    return VideoPlan("video", file, 1920, 1080, FPS, sum(u.expected for u in cut), tuple(cut))


def boxes_of(frame: int) -> np.ndarray:
    """Twenty boxes that drift to the right, far enough apart to be told; float32 [20, 6]."""
    row, column = np.divmod(np.arange(BOXES), 5)
    x = column * 300 + (frame % 200)
    y = row * 200.0
    score = np.full(BOXES, 0.9)
    return np.stack([x, y, x + 80, y + 60, score, np.zeros(BOXES)], axis=1).astype(np.float32)


def commit(folder: OutputFolder, unit: WorkUnit) -> None:
    """Write the detections of a unit."""
    first, stop = unit.frames.first, unit.frames.stop
    frames = [index for index in range(first, stop) if index % unit.every_nth == 0]
    table = detections_table(
        video_uri=unit.file.uri,
        unit_id=unit.unit_id,
        frame_index=np.repeat(np.array(frames, np.int64), BOXES),
        pts_ns=np.repeat(unit.frames.pts_ns[[index - first for index in frames]], BOXES),
        rows=np.concatenate([boxes_of(index) for index in frames]),
        class_names=["car"],
    )
    facts = UnitFacts(unit_id=unit.unit_id, video_uri=unit.file.uri, frames=unit.expected)
    commit_unit(folder, unit.unit_id, table, facts)


def context(output: Path) -> JobContext:
    return JobContext(
        job_uid="job",
        output_uri=str(output),
        storage=StorageOptions(),
        scratch=output,
        host_directory=output,
        handler="",
        parameters={},
        host_timeout=1,
        quarantine=True,
        tracking=Tracking({}, "tracking"),
    )


def claimed(output: Path) -> OutputFolder:
    """An output folder that belongs to the job of `context`."""
    folder = OutputFolder(str(output), StorageOptions())
    claim(folder, "Resume", Claimant(job_uid="job", job_name="job", fingerprint="f"))
    return folder


def tracked(output: Path, video: VideoPlan, missing: frozenset[str] = frozenset()):
    """Commit and track a video; its rows of `tracks` without the names of its units."""
    folder = claimed(output)
    committed = {unit.unit_id for unit in video.units} - missing
    for unit in video.units:
        if unit.unit_id in committed:
            commit(folder, unit)
    track_video(TrackWork.of(video, committed), context(output))
    table = pyarrow.dataset.dataset(output / "tracks").to_table().drop_columns(["unit_id"])
    return table.sort_by([("frame_index", "ascending"), ("x1", "ascending"), ("y1", "ascending")])


def test_tracks_do_not_depend_on_how_the_video_was_cut(tmp_path):
    whole = tracked(tmp_path / "whole", plan(1, 120))
    cut = tracked(tmp_path / "cut", plan(8, 15))
    assert whole.num_rows > 100 * BOXES
    assert whole == cut


def test_frames_of_a_quarantined_unit_pass_without_detections(tmp_path):
    video = plan(4, 10)
    table = tracked(tmp_path, video, missing=frozenset({"unit-001"}))
    frames = set(table["frame_index"].to_pylist())
    assert not frames & set(range(10, 20))
    # A gap of ten frames is shorter than the tracker's patience: the tracks go on behind it.
    before = set(table.filter(pyarrow.compute.field("frame_index") < 10)["track_id"].to_pylist())
    behind = set(table.filter(pyarrow.compute.field("frame_index") >= 20)["track_id"].to_pylist())
    assert before == behind
    assert len(before) == BOXES


def test_only_every_nth_frame_is_tracked_where_the_job_says_so(tmp_path):
    table = tracked(tmp_path, plan(3, 20, every_nth=3))
    frames = set(table["frame_index"].to_pylist())
    assert frames <= set(range(0, 60, 3))
    assert max(frames) == 57


@pytest.mark.slow
def test_a_million_detections_grow_memory_by_less_than_300_mb(tmp_path):
    """Measured in a process of its own, from after the imports to its peak."""
    script = """
import resource, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import test_track_task as task
output = Path(sys.argv[2])
video = task.plan(50, 1000)
work = task.TrackWork.of(video, {unit.unit_id for unit in video.units})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = task.track_video(work, task.context(output))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(facts.rows, (after - before) // 1024)
"""
    folder = claimed(tmp_path)
    for unit in plan(50, 1000).units:
        commit(folder, unit)
    done = subprocess.run(
        [sys.executable, "-c", script, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, grown_mib = map(int, done.stdout.split())
    assert rows > 990_000
    assert grown_mib < 300
