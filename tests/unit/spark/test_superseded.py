"""A job that lost its folder writes nothing more into it."""

from __future__ import annotations

import numpy as np
import pytest

from carpool.errors import OutputSuperseded
from carpool.inputs.filesystem import InputFile, StorageOptions
from carpool.inputs.video_decode import FrameRange
from carpool.outputs.folder import OutputFolder
from carpool.outputs.ownership import Claimant, as_next_attempt, claim
from carpool.plan.units import VideoPlan, WorkUnit
from carpool.spark.job_context import JobContext, Tracking
from carpool.spark.track import TrackWork, track_video


def claimant(uid: str, fingerprint: str = "f", name: str = "job") -> Claimant:
    return Claimant(job_uid=uid, job_name=name, fingerprint=fingerprint)


def test_tracks_of_a_superseded_job_are_not_written(tmp_path):
    folder = OutputFolder(str(tmp_path), StorageOptions())
    claim(folder, "Resume", claimant("first"))
    claim(folder, "Overwrite", claimant("second", "g"))
    file = InputFile("file:///a.mp4", "a.mp4", 1, 1)
    unit = WorkUnit("u", "v", file, FrameRange(0, np.arange(3, dtype=np.int64)), 1, 3)
    video = VideoPlan("v", file, 8, 8, 25.0, 3, (unit,))
    context = JobContext(
        job_uid="first",
        output_uri=str(tmp_path),
        storage=StorageOptions(),
        scratch=tmp_path,
        host_directory=tmp_path,
        handler="",
        parameters={},
        host_timeout=1,
        quarantine=True,
        tracking=Tracking({}, "t"),
    )
    with pytest.raises(OutputSuperseded, match="taken over"):
        track_video(TrackWork.of(video, set()), context)
    assert not list(tmp_path.glob("tracks/*"))


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        (claimant("new"), True),
        (claimant("new", "other settings"), False),
        (claimant("new", name="other job"), False),
    ],
    ids=["same job", "other settings", "other name"],
)
def test_a_run_goes_on_as_the_job_that_left_the_folder_unfinished(tmp_path, now, goes_on):
    folder = OutputFolder(str(tmp_path), StorageOptions())
    assert as_next_attempt(folder, now) == now
    claim(folder, "Resume", claimant("old"))
    assert as_next_attempt(folder, now).job_uid == ("old" if goes_on else "new")
    folder.commit("_SUCCESS", b"")
    assert as_next_attempt(folder, now).job_uid == "new"
