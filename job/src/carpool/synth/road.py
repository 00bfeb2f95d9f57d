"""The fixed world: where the lanes lie, what stands beside them, and how a camera sees it.

World coordinates are metres: x to the right of the median, y along the road away from the camera,
z up from the ground. The camera is a pinhole with a shifted lens (as architecture is photographed):
verticals stay vertical, so projecting is one division, and any point can be projected back to the
ground. Everything that is drawn goes through it, which keeps sizes, occlusion and ground truth
consistent with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carpool.synth.settings import SceneSettings

LANE_WIDTH = 3.5
MEDIAN_WIDTH = 2.2
SHOULDER_WIDTH = 1.6

OVERPASS_Y = 82.0
"""Where the road vanishes under an overpass: vehicles enter and leave the picture in its shade."""
FOOTBRIDGE_Y = 38.0
NEAR_Y = 4.0
"""Nothing nearer is projected: all of it lies below the picture, and y = 0 has no projection."""

CAMERA_HEIGHT = 8.5


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane.

    Attributes:
        centre: x of its centre line in metres.
        oncoming: True where its vehicles come towards the camera.
    """

    centre: float
    oncoming: bool


@dataclass(frozen=True, slots=True)
class Road:
    """The lanes from left to right, between `left` and `right` (x of the outer lane edges)."""

    lanes: tuple[Lane, ...]
    left: float
    right: float

    @property
    def divided(self) -> bool:
        """Whether there is traffic in both directions, hence a median at x = 0."""
        return self.left < 0 < self.right and len({lane.oncoming for lane in self.lanes}) == 2


def lay_out(lanes: int) -> Road:
    """A road with `lanes` lanes; the left half is oncoming, as where traffic keeps right."""
    oncoming = lanes // 2
    inner = MEDIAN_WIDTH / 2 if oncoming else -LANE_WIDTH / 2
    left = [-inner - LANE_WIDTH * (k + 0.5) for k in reversed(range(oncoming))]
    right = [inner + LANE_WIDTH * (k + 0.5) for k in range(lanes - oncoming)]
    return Road(
        lanes=(*(Lane(x, oncoming=True) for x in left), *(Lane(x, oncoming=False) for x in right)),
        left=left[0] - LANE_WIDTH / 2 if left else right[0] - LANE_WIDTH / 2,
        right=right[-1] + LANE_WIDTH / 2,
    )


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole above the road that looks along it.

    Attributes:
        focal: focal length in pixels.
        centre_u: column of the vanishing point.
        horizon_v: row of the horizon.
        x: lateral position in metres.
        height: metres above the ground.
    """

    focal: float
    centre_u: float
    horizon_v: float
    x: float
    height: float = CAMERA_HEIGHT

    @classmethod
    def of(cls, settings: SceneSettings) -> Camera:
        """The camera of a scene; its position varies with the seed."""
        rng = np.random.default_rng((settings.seed, 1))
        return cls(
            focal=1.1 * settings.width,
            centre_u=settings.width * rng.uniform(0.46, 0.54),
            horizon_v=settings.height * rng.uniform(0.19, 0.22),
            x=rng.uniform(-1.6, 1.6),
        )

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image positions (u, v) in pixels of world points [..., 3]; y is kept ≥ `NEAR_Y`."""
        scale = self.focal / np.maximum(points[..., 1], NEAR_Y)
        image = np.empty((*points.shape[:-1], 2))
        image[..., 0] = self.centre_u + (points[..., 0] - self.x) * scale
        image[..., 1] = self.horizon_v + (self.height - points[..., 2]) * scale
        return image

    def scale(self, y: float) -> float:
        """Pixels a metre at distance `y`."""
        return self.focal / max(y, NEAR_Y)

    def row(self, y: float, z: float = 0.0) -> float:
        """Image row of a point at distance `y` and height `z`."""
        return self.horizon_v + (self.height - z) * self.scale(y)

    def column(self, x: float, y: float) -> float:
        """Image column of a point at `x` and distance `y`."""
        return self.centre_u + (x - self.x) * self.scale(y)
