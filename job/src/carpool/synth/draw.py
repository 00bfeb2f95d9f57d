"""Paints a frame's vehicles over the backdrop and measures what can be seen of each.

Everything is painted from back to front into two images at once: the picture, anti-aliased, and a
map of labels, which says for each pixel whose it is. Occlusion, visible boxes and visibility are
read from that map, so they cannot disagree with the picture.

The order of painting: lanes by their distance from the camera across the road, the outer ones
first, and within a lane from far to near. It is exact, not a heuristic: a plane between two lanes
has the camera on the inner lane's side, so nothing in the outer one can hide anything in the inner.
The same holds for pillars beside the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.synth.ground import HAZE, HAZE_PER_M
from carpool.synth.road import OVERPASS_Y
from carpool.synth.shapes import Side, template
from carpool.synth.truth import TruthBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from carpool.synth.backdrop import Backdrop, Occluder
    from carpool.synth.road import Camera
    from carpool.synth.vehicles import Look
    from carpool.vision.handler import Image

MIN_VISIBLE_PIXELS = 24
"""A vehicle of which less can be seen is not in the ground truth."""

_SHIFT = 4  # fractional bits of coordinates given to OpenCV
_UNIT = 1 << _SHIFT
_SOFT_EDGE = 3  # pixels beyond a polygon that OpenCV's anti-aliasing may touch, and one to spare
_SHADE_M = 7.0  # the overpass darkens vehicles this far before it
_SHADOW = (132, 126, 122)  # what is left of the light in a shadow, of 255
_MAX_LABELS = 255


@dataclass(frozen=True, slots=True)
class Placed:
    """A vehicle at one moment.

    Attributes:
        track_id: its identity.
        look: its kind and colours.
        oncoming: whether its front is turned to the camera.
        lane_x: metres, the centre of its lane.
        x: metres, its own centre.
        near_y: metres, its near end.
    """

    track_id: int
    look: Look
    oncoming: bool
    lane_x: float
    x: float
    near_y: float


@dataclass(frozen=True, slots=True)
class _Projected:
    """A vehicle in image coordinates: corners in 1/16 pixel, a colour for each face.

    `low` and `high` bound the corners; `window` is the part of the picture between them.
    """

    placed: Placed
    points: NDArray[np.int32]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    window: tuple[slice, slice] | None
    faces: tuple[tuple[int, int, float, bool], ...]
    colours: list[list[float]]
    scale: float


class Painter:
    """Paints frames of one scene; the buffers are reused, so one thread may use it at a time."""

    def __init__(self, camera: Camera, backdrop: Backdrop) -> None:
        self._camera = camera
        self._backdrop = backdrop
        height, width = backdrop.image.shape[:2]
        self._labels = np.zeros((height, width), np.uint8)
        self._shade = np.full_like(backdrop.image, 255)

    def paint(self, vehicles: Sequence[Placed]) -> tuple[Image, list[TruthBox]]:
        """Paint a frame.

        Args:
            vehicles: at most 255, in any order.

        Returns:
            The picture without noise, uint8 [H, W, 3] BGR, and the boxes of all vehicles of which
            something can be seen, sorted by track id.
        """
        if len(vehicles) > _MAX_LABELS:
            raise ValueError(f"vehicles: {len(vehicles)} are more than {_MAX_LABELS} labels")
        order = sorted(vehicles, key=lambda v: (self._aside(v), v.near_y), reverse=True)
        projected = [self._project(vehicle) for vehicle in order]
        image = self._paint_shadows(order)
        self._labels.fill(0)
        occluders = list(self._backdrop.occluders)
        painted_pixels: list[int] = []
        for label, vehicle in enumerate(projected, start=1):
            while occluders and occluders[0].aside >= self._aside(vehicle.placed):
                self._restore(image, occluders.pop(0))
            painted_pixels.append(self._paint_vehicle(image, vehicle, label))
        for occluder in occluders:
            self._restore(image, occluder)
        boxes = [
            box
            for label, vehicle in enumerate(projected, start=1)
            if (box := self._measure(vehicle, label, painted_pixels[label - 1])) is not None
        ]
        return image, sorted(boxes, key=lambda box: box.track_id)

    def _aside(self, vehicle: Placed) -> float:
        return abs(vehicle.lane_x - self._camera.x)

    def _project(self, vehicle: Placed) -> _Projected:
        camera, kind = self._camera, vehicle.look.kind
        side: Side = 0
        if vehicle.x - kind.width / 2 > camera.x:
            side = -1
        elif vehicle.x + kind.width / 2 < camera.x:
            side = 1
        shape = template(kind.name, front=vehicle.oncoming, side=side)
        corners = shape.vertices + np.array((vehicle.x, vehicle.near_y, 0.0))
        # What is still (or already) under the overpass cannot be seen.
        np.minimum(corners[:, 1], OVERPASS_Y, out=corners[:, 1])
        points = self._fixed_point(corners)
        shade = min(max(1.0 - (OVERPASS_Y - vehicle.near_y) / _SHADE_M, 0.0), 1.0)
        daylight = 1.0 - 0.42 * shade
        air = HAZE_PER_M * max(vehicle.near_y, 0.0)
        colours = vehicle.look.colours[shape.paints] * (daylight * (1.0 - air)) + HAZE * air
        low, high = points.min(axis=0), points.max(axis=0)
        return _Projected(
            placed=vehicle,
            points=points,
            low=low,
            high=high,
            window=self._window(low, high),
            faces=shape.faces,
            colours=colours.tolist(),
            scale=camera.scale(vehicle.near_y),
        )

    def _fixed_point(self, corners: NDArray[np.float64]) -> NDArray[np.int32]:
        """Image positions in 1/16 pixel of world points; OpenCV's pixels have integer centres."""
        return np.round((self._camera.project(corners) - 0.5) * _UNIT).astype(np.int32)

    def _paint_shadows(self, vehicles: Sequence[Placed]) -> Image:
        """A new picture: the backdrop with the vehicles' shadows on the ground."""
        backdrop, shade = self._backdrop.image, self._shade
        windows = []
        for vehicle in vehicles:
            points = self._fixed_point(_shadow(vehicle))
            window = self._window(points.min(axis=0), points.max(axis=0))
            if window is not None:
                cv2.fillConvexPoly(shade, points, _SHADOW, cv2.LINE_AA, _SHIFT)
                windows.append(window)
        image = backdrop.copy()
        for window in windows:
            # From the backdrop, not in place: where windows overlap, shadows must not add up.
            cv2.multiply(backdrop[window], shade[window], dst=image[window], scale=1 / 255)
        for window in windows:
            shade[window] = 255
        return image

    def _paint_vehicle(self, image: Image, vehicle: _Projected, label: int) -> int:
        """Paint a vehicle into the picture and the labels; gives its pixels in the picture."""
        points, labels = vehicle.points, self._labels
        for (first, last, min_scale, solid), colour in zip(
            vehicle.faces, vehicle.colours, strict=True
        ):
            if vehicle.scale < min_scale:
                continue
            corners = points[first:last]
            if solid:
                corners = np.asarray(cv2.convexHull(corners), np.int32)
                cv2.fillConvexPoly(labels, corners, (label,), cv2.LINE_8, _SHIFT)
            cv2.fillConvexPoly(image, corners, colour, cv2.LINE_AA, _SHIFT)
        return 0 if vehicle.window is None else _count(labels[vehicle.window], label)

    def _restore(self, image: Image, occluder: Occluder) -> None:
        """Put an occluder back over the vehicles painted so far."""
        window, mask = occluder.window, occluder.mask
        cv2.copyTo(self._backdrop.image[window], mask, image[window])
        self._labels[window][mask > 0] = 0

    def _window(
        self, low: NDArray[np.int32], high: NDArray[np.int32]
    ) -> tuple[slice, slice] | None:
        """The part of the picture between two corners in 1/16 pixel; None if there is none."""
        height, width = self._labels.shape
        left, top = (int(value >> _SHIFT) - _SOFT_EDGE for value in low)
        right, bottom = (int(value >> _SHIFT) + 1 + _SOFT_EDGE for value in high)
        rows = slice(max(0, top), min(height, bottom))
        columns = slice(max(0, left), min(width, right))
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return None if empty else (rows, columns)

    def _measure(self, vehicle: _Projected, label: int, painted: int) -> TruthBox | None:
        """The visible box and visibility of a painted vehicle; None if too little is visible."""
        window = vehicle.window
        if window is None:
            return None
        mask = cv2.inRange(self._labels[window], (label,), (label,))
        visible = cv2.countNonZero(mask)
        if visible < MIN_VISIBLE_PIXELS:
            return None
        left, top, width, height = cv2.boundingRect(mask)
        x1, y1 = window[1].start + left, window[0].start + top
        # The part of the vehicle that lies in the picture, by the area of its box.
        limit = np.array(self._labels.shape[::-1]) * _UNIT
        inside = np.minimum(vehicle.high, limit) - np.maximum(vehicle.low, 0)
        in_picture = float(np.prod(inside / np.maximum(vehicle.high - vehicle.low, 1)))
        placed = vehicle.placed
        return TruthBox(
            track_id=placed.track_id,
            class_id=placed.look.kind.class_id,
            class_name=placed.look.kind.name,
            x1=float(x1),
            y1=float(y1),
            x2=float(x1 + width),
            y2=float(y1 + height),
            visibility=visible / painted * in_picture,
        )


def _shadow(vehicle: Placed) -> NDArray[np.float64]:
    """Outline of a vehicle's shadow on the ground, float64 [6, 3] in metres."""
    kind = vehicle.look.kind
    left, right = vehicle.x - kind.width / 2, vehicle.x + kind.width / 2
    y0, y1 = vehicle.near_y, vehicle.near_y + kind.length
    # The sun is high, to the left behind the camera: shadows fall to the right and away.
    dx, dy = 0.39 * kind.height, 0.20 * kind.height
    outline = np.array(
        (
            (left, y0, 0.0),
            (right, y0, 0.0),
            (right + dx, y0 + dy, 0.0),
            (right + dx, y1 + dy, 0.0),
            (left + dx, y1 + dy, 0.0),
            (left, y1, 0.0),
        )
    )
    np.minimum(outline[:, 1], OVERPASS_Y, out=outline[:, 1])
    return outline


def _count(labels: Image, label: int) -> int:
    return int(cv2.countNonZero(cv2.inRange(labels, (label,), (label,))))
