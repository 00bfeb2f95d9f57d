"""Sky, grass and pavement, computed pixel by pixel from world coordinates.

The planes are computed at the resolution they are asked for; the caller asks for more than it needs
and averages, so that lines and texture shrink with distance as they do before a lens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.synth.road import (
    FOOTBRIDGE_Y,
    LANE_WIDTH,
    OVERPASS_Y,
    SHOULDER_WIDTH,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from carpool.synth.road import Camera, Road

    Plane = NDArray[np.float32]

HAZE = np.array((208.0, 206.0, 202.0))
"""BGR of the air; distant things fade towards it."""
HAZE_PER_M = 0.0016

_LINE_WIDTH = 0.16
_DASH, _DASH_PERIOD = 4.0, 10.0
_FAR = 400.0  # m; beyond it ground and horizon are one row
_TILE = 512


@dataclass(frozen=True, slots=True)
class GroundMap:
    """World coordinates of the pixels below the horizon.

    Attributes:
        x: float32 [rows, columns], metres.
        y: float32 [rows, columns], metres.
    """

    x: Plane
    y: Plane


@dataclass(frozen=True, slots=True)
class _Texture:
    """Noise laid over the ground like tiles.

    Attributes:
        ground: where each pixel lies.
        grain: float32 [tile, tile], unit variance, each entry by itself.
        smooth: the same, in soft spots of several entries.
        fade: float32 [rows, columns]: how much of the grain is left at a pixel's distance. Texture
            finer than a pixel would only flicker between neighbouring pixels.
    """

    ground: GroundMap
    grain: Plane
    smooth: Plane
    fade: Plane

    @classmethod
    def random(cls, ground: GroundMap, rng: np.random.Generator) -> _Texture:
        grain = rng.normal(0.0, 1.0, (_TILE, _TILE)).astype(np.float32)
        smooth = 7.0 * cv2.GaussianBlur(np.pad(grain, 8, mode="wrap"), (0, 0), 2.0)[8:-8, 8:-8]
        fade = np.clip(26.0 / ground.y, 0.0, 1.0)
        return cls(ground, grain, np.asarray(smooth, np.float32), fade)

    def spots(self, per_m_x: float, per_m_y: float) -> Plane:
        """Soft spots, so many entries of the tile to the metre."""
        return self._lay(self.smooth, per_m_x, per_m_y)

    def grains(self, per_m_x: float, per_m_y: float) -> Plane:
        """Grain, so many entries of the tile to the metre, fading with distance."""
        return self.fade * self._lay(self.grain, per_m_x, per_m_y)

    def _lay(self, tile: Plane, per_m_x: float, per_m_y: float) -> Plane:
        columns = np.mod(self.ground.x * per_m_x, _TILE - 1)
        rows = np.mod(self.ground.y * per_m_y, _TILE - 1)
        return np.asarray(cv2.remap(tile, columns, rows, cv2.INTER_LINEAR), np.float32)


def paint_sky(rows: int, columns: int, rng: np.random.Generator) -> Plane:
    """A hazy sky with thin clouds: float32 [rows, columns, 3] BGR."""
    top = np.array((216.0, 192.0, 170.0)) + rng.uniform(-6, 6)
    depth = np.linspace(0.0, 1.0, rows)[:, None, None] ** 0.8
    sky = np.broadcast_to(top * (1 - depth) + (HAZE + 18) * depth, (rows, columns, 3))
    clouds = np.zeros((rows, columns), np.float32)
    for cells, weight in ((3, 0.5), (6, 0.3), (13, 0.2)):
        grid = rng.uniform(0, 1, (cells, cells * 2)).astype(np.float32)
        clouds += weight * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    cover = np.clip((clouds - 0.48) * 3.0, 0.0, 0.75)[:, :, None]
    return np.asarray(sky * (1 - cover) + np.array((240.0, 238.0, 236.0)) * cover, np.float32)


def map_ground(camera: Camera, first_v: float, rows: int, columns: int, step: float) -> GroundMap:
    """Where the pixels of `rows` x `columns` below row `first_v` lie; a pixel is `step` wide."""
    v = first_v + (np.arange(rows) + 0.5) * step
    u = (np.arange(columns) + 0.5) * step
    y = camera.focal * camera.height / np.maximum(v - camera.horizon_v, 1e-6)
    y = np.minimum(y, _FAR)[:, None]
    x = camera.x + (u[None, :] - camera.centre_u) * y / camera.focal
    return GroundMap(x.astype(np.float32), np.broadcast_to(y, x.shape).astype(np.float32))


def paint_ground(ground: GroundMap, road: Road, rng: np.random.Generator) -> Plane:
    """Grass and road with markings, wear and the bridges' shadows: float32 [rows, columns, 3]."""
    texture = _Texture.random(ground, rng)
    grass_light = 8.0 * texture.spots(1.1, 0.5) + 10.0 * texture.grains(30.0, 12.0)
    grass = np.array((74.0, 118.0, 98.0)) + grass_light[:, :, None] * np.array((0.7, 1.0, 0.9))
    gravel = np.array((128.0, 138.0, 144.0)) + 9.0 * texture.grains(25.0, 9.0)[..., None]
    pavement = _pavement(ground, road, texture, rng)

    left, right = road.left - SHOULDER_WIDTH, road.right + SHOULDER_WIDTH
    paved = (ground.x > left) & (ground.x < right)
    verge = (ground.x > left - 0.9) & (ground.x < right + 0.9)
    image = np.where(paved[..., None], pavement, np.where(verge[..., None], gravel, grass))
    for near, far, light in (
        (FOOTBRIDGE_Y + 1.6, FOOTBRIDGE_Y + 4.6, 0.66),
        (OVERPASS_Y - 1.5, _FAR, 0.55),
    ):
        image[(ground.y > near) & (ground.y < far)] *= light
    air = np.minimum(HAZE_PER_M * ground.y, 0.6)[..., None]
    return np.asarray(image * (1 - air) + HAZE * air, np.float32)


def _pavement(ground: GroundMap, road: Road, texture: _Texture, rng: np.random.Generator) -> Plane:
    """Asphalt with wheel tracks, patches and markings."""
    light = 106.0 + 3.5 * texture.spots(14.0, 0.5) + 3.0 * texture.spots(1.5, 1.0)
    light += 9.0 * texture.grains(38.0, 14.0)
    for lane in road.lanes:
        across = ground.x - lane.centre
        inside = np.abs(across) < LANE_WIDTH / 2
        tracks = np.exp(-(((np.abs(across) - 0.85) / 0.32) ** 2))
        light -= inside * (8.0 * tracks + 4.0 * np.exp(-((across / 0.35) ** 2)))
        light += inside * rng.uniform(-3.0, 3.0)
        for _ in range(3):  # repaired places
            y = rng.uniform(18.0, 75.0)
            x0 = lane.centre + rng.uniform(-1.6, 0.2)
            patch = (ground.y > y) & (ground.y < y + rng.uniform(2, 9)) & (ground.x > x0)
            light[patch & (ground.x < x0 + rng.uniform(0.9, 1.6))] -= rng.uniform(7.0, 15.0)
    pavement = light[..., None] * np.array((1.02, 1.0, 0.985))
    if road.divided:
        pavement[np.abs(ground.x) < 0.55] += (14.0, 16.0, 18.0)  # the concrete strip in between
    worn = np.clip(0.86 + 0.10 * texture.spots(9.0, 3.0), 0.55, 1.0)[..., None]
    paint = np.array((224.0, 226.0, 228.0))
    lines = np.zeros(ground.x.shape, bool)
    for x, dashed in _line_positions(road):
        line = np.abs(ground.x - x) < _LINE_WIDTH / 2
        lines |= line & (np.mod(ground.y, _DASH_PERIOD) < _DASH) if dashed else line
    painted = np.where(lines[..., None], paint * worn + pavement * (1 - worn), pavement)
    return np.asarray(painted, np.float32)


def _line_positions(road: Road) -> Iterator[tuple[float, bool]]:
    """X of each painted line, and whether it is dashed."""
    edges: dict[float, int] = {}
    for lane in road.lanes:
        for edge in (lane.centre - LANE_WIDTH / 2, lane.centre + LANE_WIDTH / 2):
            edges[round(edge, 3)] = edges.get(round(edge, 3), 0) + 1
    for x, lanes_beside in edges.items():
        yield x, lanes_beside == 2
