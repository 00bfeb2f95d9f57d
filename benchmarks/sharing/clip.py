"""The clip that arm (e2) decodes."""

from __future__ import annotations

from pathlib import Path

import cv2

from carpool.synth.render import render_video
from carpool.synth.settings import SceneSettings

cv2.setNumThreads(1)  # as in frames.py
SETTINGS = SceneSettings(seed=1, frames=100)


def render_clip(folder: Path) -> Path:
    """Render it below a folder, or find it there."""
    return render_video(SETTINGS, folder / "clips", "clip").video
