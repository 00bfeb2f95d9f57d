"""A scene: frames and their ground truth by index, in any order, always the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.synth.backdrop import paint_backdrop
from carpool.synth.barcode import paint_barcode
from carpool.synth.draw import Painter, Placed
from carpool.synth.road import Camera, lay_out
from carpool.synth.traffic import simulate

if TYPE_CHECKING:
    from carpool.synth.settings import SceneSettings
    from carpool.synth.truth import TruthBox
    from carpool.vision.handler import Image

_NOISE_MARGIN = 64
_DRIFT_PERIOD_S = 11.0


class Scene:
    """One clip of traffic.

    Args:
        settings: what defines it.
    """

    def __init__(self, settings: SceneSettings) -> None:
        self.settings = settings
        road = lay_out(settings.lanes)
        camera = Camera.of(settings)
        self._trajectories = simulate(settings, road)
        self._painter = Painter(camera, paint_backdrop(settings, camera, road))
        self._noise = _noise_sheet(settings)

    def frame(self, index: int) -> tuple[Image, list[TruthBox]]:
        """A frame and what is in it.

        Args:
            index: from 0 to `settings.frames` - 1.

        Returns:
            The picture, uint8 [H, W, 3] BGR, and the boxes sorted by track id.

        Raises:
            IndexError: the scene has no such frame.
        """
        if not 0 <= index < self.settings.frames:
            raise IndexError(f"frame {index} of a scene of {self.settings.frames}")
        present = [
            Placed(
                track_id=trajectory.track_id,
                look=trajectory.look,
                oncoming=trajectory.oncoming,
                lane_x=trajectory.lane_x,
                x=float(trajectory.x[index - trajectory.first_frame]),
                near_y=float(trajectory.near_y[index - trajectory.first_frame]),
            )
            for trajectory in self._trajectories
            if index in trajectory.frames
        ]
        image, boxes = self._painter.paint(present)
        self._expose(image, index)
        paint_barcode(image, index)
        return image, boxes

    def _expose(self, image: Image, index: int) -> None:
        """Apply sensor noise and the drift of exposure in place."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, 4, index))
        row, column = rng.integers(0, _NOISE_MARGIN, 2)
        noise = self._noise[row : row + settings.height, column : column + settings.width]
        turn = 2 * math.pi * (index / settings.fps / _DRIFT_PERIOD_S) + settings.seed
        gain = 1.0 + settings.brightness_drift * math.sin(turn)
        # The sheet is centred on 128, since eight unsigned bits are what OpenCV adds fastest.
        cv2.addWeighted(image, gain, noise, 1.0, -128.0, dst=image)


def _noise_sheet(settings: SceneSettings) -> Image:
    """Noise for all frames: each uses another window of this sheet."""
    rng = np.random.default_rng((settings.seed, 5))
    shape = (settings.height + _NOISE_MARGIN, settings.width + _NOISE_MARGIN)
    grey = rng.normal(0.0, settings.noise, (*shape, 1))
    colour = rng.normal(0.0, settings.noise * 0.35, (*shape, 3))
    return np.round(128.0 + grey + colour).clip(0, 255).astype(np.uint8)
