"""What stands upright: bridges, posts, rails, trees and houses.

Some of it stands between camera and road. For these the outline is returned along with its
position, so that vehicles behind it can be covered by it again after they were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.synth.ground import HAZE, HAZE_PER_M
from carpool.synth.road import FOOTBRIDGE_Y, OVERPASS_Y, SHOULDER_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from carpool.synth.road import Camera, Road
    from carpool.vision.handler import Image

Colour = tuple[float, float, float]
Point = tuple[float, float, float]

_SHIFT = 3  # fractional bits of coordinates given to OpenCV


@dataclass(frozen=True, slots=True)
class Outline:
    """Something that hides vehicles behind it.

    Attributes:
        x: metres; None for what stands right before the camera.
        polygon: float64 [n, 2], in image pixels.
    """

    x: float | None
    polygon: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image to paint world polygons on, `scale` times as large as the picture will be."""

    image: Image
    camera: Camera
    scale: int

    def polygon(self, corners: Sequence[Point], colour: Colour) -> NDArray[np.float64]:
        """Fill a polygon of world points, in the colour it has nearby; gives its image points."""
        points = self.camera.project(np.array(corners, dtype=np.float64))
        distance = float(np.mean([corner[1] for corner in corners]))
        air = min(HAZE_PER_M * distance, 0.6)
        bgr = np.array(colour) * (1 - air) + HAZE * air
        # OpenCV's pixels have their centres at integers, the projection at halves.
        fixed = np.round((points * self.scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], bgr.tolist(), cv2.LINE_AA, _SHIFT)
        return points

    def upright(
        self, x: tuple[float, float], z: tuple[float, float], y: float, colour: Colour
    ) -> NDArray[np.float64]:
        """Fill an upright rectangle across the road; gives its image points."""
        (x0, x1), (z0, z1) = x, z
        return self.polygon([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a disc that faces the camera; the radius is in metres."""
        u, v = self.camera.project(np.array(centre)) * self.scale
        air = min(HAZE_PER_M * centre[1], 0.6)
        bgr = np.array(colour) * (1 - air) + HAZE * air
        size = radius * self.camera.scale(centre[1]) * self.scale
        cv2.circle(self.image, (round(u), round(v)), max(1, round(size)), bgr.tolist(), -1, 16)


def paint_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Hills, houses and a belt of trees behind the overpass."""
    x = np.linspace(-420.0, 420.0, 90)
    for y, height, colour in ((700.0, 26.0, (146, 142, 128)), (420.0, 11.0, (104, 124, 108))):
        swings = sum(
            np.sin(x / rng.uniform(30, 130) + rng.uniform(0, 7)) * weight for weight in (4, 3, 2)
        )
        ridge = height + np.asarray(swings) * height / 18.0
        crest: list[Point] = [
            (float(a) * y / 420.0, y, float(b)) for a, b in zip(x, ridge, strict=True)
        ]
        canvas.polygon([(-900.0, y, 0.0), *crest, (900.0, y, 0.0)], colour)
    for _ in range(11):
        y = float(rng.uniform(230.0, 330.0))
        left, width = float(rng.uniform(-170, 150)), float(rng.uniform(14, 30))
        roof = float(rng.uniform(14, 40))
        grey = float(rng.uniform(120, 175))
        canvas.upright((left, left + width), (0, roof), y, (grey + 4, grey, grey - 2))
        for floor in np.arange(3.0, roof - 2.0, 3.4):
            for window in np.arange(1.5, width - 2.0, 3.2):
                shade = float(rng.uniform(0.6, 0.95)) * grey
                corner = left + float(window)
                canvas.upright(
                    (corner, corner + 1.7), (float(floor), float(floor) + 1.9), y, (shade,) * 3
                )
    for place in np.arange(-170.0, 170.0, 4.0):
        y = float(rng.uniform(120.0, 170.0))
        _tree(canvas, (float(place + rng.uniform(-2, 2)), y), float(rng.uniform(6.0, 11.0)), rng)


def paint_overpass(canvas: Canvas, road: Road) -> None:
    """The bridge under whose deck the road vanishes in the dark."""
    y, deck, parapet = OVERPASS_Y, 5.0, 6.3
    left, right = road.left - SHOULDER_WIDTH - 2.4, road.right + SHOULDER_WIDTH + 2.4
    for layer in range(8):
        dark = 30.0 + 4.5 * layer
        z = (deck * (7 - layer) / 8, deck * (8 - layer) / 8)
        canvas.upright((left, right), z, y, (dark + 2, dark + 1, dark))
    for edge, outward in ((left, -1.0), (right, 1.0)):
        bank: list[Point] = [
            (edge, y, 0.0),
            (edge, y, deck),
            (edge + outward * 160.0, y, deck),
            (edge + outward * 160.0, y, 0.0),
        ]
        canvas.polygon(bank, (70, 106, 90))
        wall: list[Point] = [
            (edge, y, 0.0),
            (edge, y, deck),
            (edge + outward * 1.2, y, deck),
            (edge + outward * 3.4, y, 0.0),
        ]
        canvas.polygon(wall, (150, 154, 156))
    if road.divided:
        canvas.upright((-0.5, 0.5), (0, deck), y, (128, 132, 134))
    canvas.upright((-200, 200), (deck, parapet), y, (158, 163, 166))
    canvas.upright((-200, 200), (deck, deck + 0.22), y, (108, 112, 115))
    canvas.upright((-200, 200), (parapet, parapet + 0.2), y, (182, 186, 188))
    for post in np.arange(-100.0, 100.0, 2.2):
        canvas.upright((float(post), float(post) + 0.16), (parapet, parapet + 1.1), y, (96, 98, 98))
    canvas.upright((-200, 200), (parapet + 1.0, parapet + 1.14), y, (96, 98, 98))


def paint_roadside(canvas: Canvas, road: Road, rng: np.random.Generator) -> None:
    """Trees, lamp posts and guard rails on both sides, none of them before a lane."""
    left, right = road.left - SHOULDER_WIDTH, road.right + SHOULDER_WIDTH
    for y in np.arange(76.0, 26.0, -5.0):
        for edge, outward in ((left, -1.0), (right, 1.0)):
            if rng.uniform() < 0.75:
                x = edge + outward * float(rng.uniform(8.0, 26.0))
                _tree(canvas, (x, float(y + rng.uniform(-2, 2))), float(rng.uniform(4, 8)), rng)
    for edge, outward in ((left - 0.8, -1.0), (right + 0.8, 1.0)):
        for y in (74.0, 52.0, 30.0):
            x = edge + outward * 1.0
            canvas.upright((x - 0.09, x + 0.09), (0, 8.3), y, (118, 120, 120))
            arm = sorted((x, x - outward * 1.9))
            canvas.upright((arm[0], arm[1]), (8.2, 8.34), y, (118, 120, 120))
            head = sorted((x - outward * 1.2, x - outward * 2.0))
            canvas.upright((head[0], head[1]), (8.1, 8.3), y, (150, 152, 152))
        for y in np.arange(80.0, 8.0, -4.0):
            canvas.upright((edge - 0.06, edge + 0.06), (0, 0.75), float(y), (112, 114, 114))
        for z0, z1, grey in ((0.48, 0.80, 168.0), (0.60, 0.66, 128.0)):
            rail: list[Point] = [
                (edge, 6.0, z0),
                (edge, OVERPASS_Y, z0),
                (edge, OVERPASS_Y, z1),
                (edge, 6.0, z1),
            ]
            canvas.polygon(rail, (grey + 2, grey, grey - 2))


def paint_arrows(canvas: Canvas, road: Road) -> None:
    """A direction arrow on each lane."""
    for lane in road.lanes:
        tail, head = (31.0, 26.0) if lane.oncoming else (26.0, 31.0)
        neck = head + (tail - head) * 0.45
        shape = ((-0.1, tail), (0.1, tail), (0.1, neck), (0.42, neck), (0.0, head))
        outline = [*shape, (-0.42, neck), (-0.1, neck)]
        canvas.polygon([(lane.centre + x, y, 0.0) for x, y in outline], (196, 198, 200))


def paint_footbridge(canvas: Canvas, road: Road) -> list[Outline]:
    """A footbridge over the road; gives the outlines of its pillars."""
    y = FOOTBRIDGE_Y
    sides = [road.left - SHOULDER_WIDTH - 1.6, road.right + SHOULDER_WIDTH + 1.6]
    pillars: list[Outline] = []
    for x in [*sides, 0.0] if road.divided else sides:
        outline = canvas.upright((x - 0.42, x + 0.42), (0, 9.2), y, (160, 164, 166))
        pillars.append(Outline(x, outline))
        canvas.upright((x + 0.16, x + 0.42), (0, 9.2), y, (126, 130, 132))
        canvas.upright((x - 0.55, x + 0.55), (0, 0.9), y, (140, 144, 146))
    x0, x1 = sides[0] - 30.0, sides[1] + 30.0
    canvas.upright((x0, x1), (9.0, 9.85), y, (150, 152, 150))
    canvas.upright((x0, x1), (9.0, 9.16), y, (104, 106, 106))
    for post in np.arange(x0, x1, 0.9):
        canvas.upright((float(post), float(post) + 0.06), (9.85, 10.9), y, (120, 122, 122))
    canvas.upright((x0, x1), (10.85, 10.98), y, (112, 114, 114))
    leaving = [lane.centre for lane in road.lanes if not lane.oncoming]
    for x in leaving:
        canvas.upright((x - 1.45, x + 1.45), (7.55, 9.45), y - 0.4, (222, 224, 224))
        canvas.upright((x - 1.38, x + 1.38), (7.62, 9.38), y - 0.4, (44, 104, 26))
        for row, length in ((8.95, 1.7), (8.5, 1.2)):
            canvas.upright((x - 1.15, x - 1.15 + length), (row, row + 0.2), y - 0.4, (226,) * 3)
        canvas.polygon(
            [(x - 0.22, y - 0.4, 8.1), (x + 0.22, y - 0.4, 8.1), (x, y - 0.4, 7.75)], (226,) * 3
        )
    return pillars


def paint_lamp_post(canvas: Canvas, column: float) -> Outline:
    """A post right before the camera, on the bridge that the camera stands on.

    Args:
        canvas: to paint on.
        column: image column of its middle.
    """
    y = 7.0
    x = canvas.camera.x + (column - canvas.camera.centre_u) / canvas.camera.scale(y)
    radius = 0.045
    post = canvas.upright((x - radius, x + radius), (4.0, 10.2), y, (112, 114, 112))
    canvas.upright((x - radius, x - radius * 0.3), (4.0, 10.2), y, (146, 148, 146))
    canvas.upright((x + radius * 0.5, x + radius), (4.0, 10.2), y, (84, 86, 85))
    return Outline(None, post)


def _tree(
    canvas: Canvas, foot: tuple[float, float], height: float, rng: np.random.Generator
) -> None:
    """A trunk and a crown of discs, lit from the upper left."""
    x, y = foot
    canvas.upright((x - 0.16, x + 0.16), (0, height * 0.5), y, (58, 70, 78))
    crown = height * 0.34
    for part in np.linspace(0.0, 1.0, 26):
        angle, reach = rng.uniform(0, 2 * np.pi), crown * (1 - 0.75 * part) * rng.uniform(0.2, 1)
        light = 0.62 + 0.5 * part + rng.uniform(-0.06, 0.06)
        shift = -0.22 * crown * part
        centre = (
            x + shift + float(np.cos(angle)) * reach,
            y,
            height * 0.64 - shift + float(np.sin(angle)) * reach,
        )
        canvas.disc(centre, crown * (0.46 - 0.26 * part), (58 * light, 98 * light, 80 * light))
