from __future__ import annotations

import pytest

from carpool.synth import sample
from carpool.synth.sample import render_sample


@pytest.fixture
def short_clips(monkeypatch):
    """The sample's clips, cut to a few frames each."""
    clips = tuple((name, frames // 50, *rest) for name, frames, *rest in sample._CLIPS)
    monkeypatch.setattr(sample, "_CLIPS", clips)


def test_the_sample_is_three_clips_of_different_length(tmp_path, short_clips):
    clips = render_sample(tmp_path)
    assert len({clip.frames for clip in clips}) == 3
    assert sorted(tmp_path.glob("*.mp4")) == sorted(clip.video for clip in clips)
    assert all(clip.truth.exists() and clip.mot.exists() for clip in clips)


def test_clips_that_exist_are_left_alone(tmp_path, short_clips):
    first = render_sample(tmp_path)
    first[1].video.unlink()
    kept = {clip.video: clip.video.stat().st_mtime_ns for clip in first[::2]}
    assert render_sample(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert first[1].video.exists()


def test_the_sample_has_the_length_it_is_described_with():
    assert 1500 <= sum(frames for _, frames, *_ in sample._CLIPS) <= 2000
