"""Clips and jobs for tests of whole jobs; a conftest.py imports what its tests need."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carpool.synth.render import render_video
from carpool.synth.settings import SceneSettings
from support.local_runs import oracle_job, result_hash, run_job_file, write_job
from support.real_clip import excerpt, real_file

REAL_SECONDS = 10
"""Length of the excerpt of the real clip: 240 frames."""


@dataclass(frozen=True)
class ReferenceRun:
    """A job, its output, its result as `-o json` gave it, and the hash of its rows."""

    job: Path
    output: Path
    result: dict[str, Any]
    hash: str


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Two short rendered clips, with a keyframe every twelve frames."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, frames in ((1, 120), (2, 84)):
        settings = SceneSettings(seed=seed, frames=frames, width=320, height=180)
        render_video(settings, folder, f"clip-{seed}")
    return folder


@pytest.fixture
def own_clips(clips, tmp_path):
    """A copy of the clips that a test may change."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for clip in clips.glob("*.mp4"):
        shutil.copy2(clip, folder)
    return folder


@pytest.fixture(scope="session")
def reference_run(clips, tmp_path_factory):
    """The undisturbed run over the clips."""
    folder = tmp_path_factory.mktemp("reference")
    job = write_job(folder / "job.yaml", oracle_job(clips / "*.mp4", folder / "out"))
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    return ReferenceRun(job, folder / "out", ended.result, result_hash(folder / "out"))


@pytest.fixture(scope="session")
def real_clip(tmp_path_factory):
    return excerpt(
        real_file("traffic.mp4"), tmp_path_factory.mktemp("real") / "traffic.mp4", REAL_SECONDS
    )


@pytest.fixture
def real_job(real_clip, tmp_path):
    def write(*, cores: int, chunk_seconds: int):
        job = oracle_job(real_clip, tmp_path / "out")
        job["spec"] |= {
            "model": {
                "format": "Darknet",
                "uri": str(real_file("yolo-fastest-1.1-xl.cfg")),
                "parameters": {"names": "coco.names", "resize": "Stretch"},
            },
            "batching": {"deterministic": True},
            # Yolo-Fastest scores low; see examples/darknet-video.yaml.
            "tracking": {
                "algorithm": "ByteTrack",
                "parameters": {"trackActivationThreshold": 0.4, "highConfDetThreshold": 0.35},
            },
        }
        job["spec"]["spark"]["executor"]["cores"] = cores
        job["spec"]["input"]["video"]["chunkSeconds"] = chunk_seconds
        return write_job(tmp_path / "job.yaml", job)

    return write
