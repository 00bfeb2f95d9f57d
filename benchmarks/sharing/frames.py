"""The frames that every arm infers: rendered traffic, resized before any clock starts."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from carpool.synth.scene import Scene
from carpool.synth.settings import SceneSettings

# OpenCV's threads do not outlive a fork, and what waits for them then waits for ever.
cv2.setNumThreads(1)

POOL = 64
EVERY_NTH = 12
"""Of the rendered clip, so that the frames differ."""


def pool(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """`POOL` frames.

    Args:
        shape: (height, width, 3) of a frame.

    Returns:
        uint8 [POOL, *shape], BGR.
    """
    height, width, _ = shape
    scene = Scene(SceneSettings(seed=1, frames=POOL * EVERY_NTH))
    frames = np.empty((POOL, *shape), np.uint8)
    for number, frame in enumerate(frames):
        image, _ = scene.frame(number * EVERY_NTH)
        cv2.resize(image, (width, height), dst=frame)
    return frames
