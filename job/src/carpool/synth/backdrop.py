"""The part of the picture that does not move, and what of it can hide a vehicle.

Painted once per scene at twice the resolution and averaged down. No colour here may have both the
hue and the saturation of a vehicle class (`carpool.vision.oracle`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.synth.ground import map_ground, paint_ground, paint_sky
from carpool.synth.structures import (
    Canvas,
    Outline,
    paint_arrows,
    paint_footbridge,
    paint_lamp_post,
    paint_overpass,
    paint_roadside,
    paint_skyline,
)

if TYPE_CHECKING:
    from carpool.synth.road import Camera, Road
    from carpool.synth.settings import SceneSettings
    from carpool.vision.handler import Image

_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Occluder:
    """A part of the backdrop that stands before vehicles.

    Attributes:
        aside: metres between it and the camera, measured across the road; 0 for what is before
            everything. See `carpool.synth.draw` for why this decides who hides whom.
        window: the part of the image around it.
        mask: uint8, of the window's size, 255 where it stands.
    """

    aside: float
    window: tuple[slice, slice]
    mask: Image


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What never changes in a scene.

    Attributes:
        image: uint8 [H, W, 3] BGR.
        occluders: those farthest aside first.
    """

    image: Image
    occluders: tuple[Occluder, ...]


def paint_backdrop(settings: SceneSettings, camera: Camera, road: Road) -> Backdrop:
    """Paint the backdrop of a scene."""
    rng = np.random.default_rng((settings.seed, 3))
    factor = _SUPERSAMPLING
    rows, columns = settings.height * factor, settings.width * factor
    horizon = math.ceil(camera.horizon_v * factor)
    image = np.empty((rows, columns, 3), np.uint8)
    image[:horizon] = paint_sky(horizon, columns, rng).clip(0, 255)
    ground = map_ground(camera, horizon / factor, rows - horizon, columns, 1 / factor)
    image[horizon:] = paint_ground(ground, road, rng).clip(0, 255)

    canvas = Canvas(image, camera, factor)
    paint_skyline(canvas, rng)
    paint_overpass(canvas, road)
    paint_arrows(canvas, road)
    paint_roadside(canvas, road, rng)
    outlines: list[Outline] = []
    if settings.occluders:
        outlines.extend(paint_footbridge(canvas, road))
        lane = road.lanes[int(rng.integers(len(road.lanes)))]
        outlines.append(paint_lamp_post(canvas, camera.column(lane.centre, rng.uniform(26, 40))))
    small = cv2.resize(
        image, (settings.width, settings.height), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
    return Backdrop(
        image=small,
        occluders=tuple(
            sorted(
                (_occluder(outline, camera, settings) for outline in outlines),
                key=lambda occluder: occluder.aside,
                reverse=True,
            )
        ),
    )


def _occluder(outline: Outline, camera: Camera, settings: SceneSettings) -> Occluder:
    mask = np.zeros((settings.height, settings.width), np.uint8)
    # A pixel more on each side: the averaged edge belongs to the occluder too.
    cv2.fillPoly(mask, [np.round(outline.polygon - 0.5).astype(np.int32)], (255,))
    mask = cv2.dilate(mask, np.ones((1, 3), np.uint8)).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    window = (slice(top, top + height), slice(left, left + width))
    aside = 0.0 if outline.x is None else abs(outline.x - camera.x)
    return Occluder(aside, window, np.ascontiguousarray(mask[window]))
