"""The vehicles as solids: faces in metres, in the order in which they are painted.

Local coordinates: x to the right as the camera sees it, centre 0; y away from the camera, 0 at the
vehicle's near end; z up. A template exists for each kind, for the end that is turned to the camera
and for the side that can be seen, and holds only faces that can be seen, the farther ones first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from carpool.synth.vehicles import Paint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Side = Literal[-1, 0, 1]
Corners = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Face:
    """One polygon of a vehicle.

    Attributes:
        corners: its corners (x, y, z); convex in the image.
        paint: its colour.
        min_scale: left out where a metre has fewer pixels than this.
        solid: the corners are those of a body whose outline (convex hull) is filled: the vehicle's
            silhouette, from which visibility and the true box are taken.
    """

    corners: Corners
    paint: Paint
    min_scale: float = 0.0
    solid: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """The faces of a vehicle in one attitude, ready for projection at once.

    Attributes:
        vertices: float64 [n, 3], the corners of all faces.
        faces: per face its first and last+1 vertex, paint, min_scale and whether it is a solid.
        paints: int [faces], the same paints for indexing a table of colours.
    """

    vertices: NDArray[np.float64]
    faces: tuple[tuple[int, int, float, bool], ...]
    paints: NDArray[np.intp]


@cache
def template(kind: str, *, front: bool, side: Side) -> Template:
    """The template of a kind of vehicle.

    Args:
        kind: car, van, bus or truck.
        front: True if its front is turned to the camera, False if its rear.
        side: 1 if the side at positive x can be seen, -1 if the other, 0 if none.
    """
    faces = {"car": _car, "van": _van, "bus": _bus, "truck": _truck}[kind](front, side)
    bounds: list[tuple[int, int, float, bool]] = []
    vertices: list[tuple[float, float, float]] = []
    for face in faces:
        first = len(vertices)
        vertices.extend(face.corners)
        bounds.append((first, len(vertices), face.min_scale, face.solid))
    return Template(
        vertices=np.array(vertices),
        faces=tuple(bounds),
        paints=np.array([face.paint for face in faces], dtype=np.intp),
    )


def _near(x0: float, x1: float, z0: float, z1: float, y: float = 0.0) -> Corners:
    """A rectangle across the road."""
    return ((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1))


def _top(half: float, y0: float, y1: float, z: float) -> Corners:
    """A level rectangle."""
    return ((-half, y0, z), (half, y0, z), (half, y1, z), (-half, y1, z))


def _along(x: float, y0: float, y1: float, z0: float, z1: float) -> Corners:
    """An upright rectangle along the road."""
    return ((x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1))


def _box(half: float, y0: float, y1: float, z0: float, z1: float) -> Corners:
    """The eight corners of a box."""
    return (*_top(half, y0, y1, z0), *_top(half, y0, y1, z1))


def _wheels(side: Side, half: float, radius: float, *centres: float) -> Iterable[Face]:
    """Wheels on the visible side, their outer face at x = ± half."""
    if side == 0:
        return
    angles = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)
    for y in centres:
        for part, paint, min_scale in ((1.0, Paint.BLACK, 9.0), (0.5, Paint.METAL, 15.0)):
            ring = tuple(
                (side * half, float(y + part * radius * c), float(radius + part * radius * s))
                for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
            )
            yield Face(ring, paint, min_scale)


def _mirrored(
    x: tuple[float, float], z: tuple[float, float], paint: Paint, min_scale: float
) -> list[Face]:
    """Two equal rectangles on the near face, left and right."""
    return [
        Face(_near(-x[1], -x[0], *z), paint, min_scale),
        Face(_near(*x, *z), paint, min_scale),
    ]


def _end_of_car(front: bool, half: float, belt: float) -> list[Face]:
    """Bumper, lights, grille and plate of a car or van."""
    lamp = Paint.HEADLIGHT if front else Paint.TAILLIGHT
    faces = [Face(_near(-half * 0.97, half * 0.97, 0.16, 0.34), Paint.DARK, 7.0)]
    faces += _mirrored((half * 0.60, half * 0.95), (belt - 0.24, belt - 0.08), lamp, 7.0)
    if front:
        faces.append(Face(_near(-half * 0.5, half * 0.5, belt - 0.24, belt - 0.10), Paint.DARK, 11))
    faces.append(Face(_near(-0.26, 0.26, 0.40, 0.51), Paint.PLATE, 16.0))
    return faces


def _car(front: bool, side: Side) -> list[Face]:
    length, half, belt, roof = 4.4, 0.9, 0.88, 1.46
    # Cabin: where it meets the body and where the roof begins and ends, from the near end.
    base, top = ((1.05, 4.15), (1.80, 3.45)) if front else ((0.30, 3.35), (0.95, 2.60))
    in_base, in_top = half * 0.94, half * 0.74
    faces = [
        Face(_box(half * 0.95, 0.05, length, 0.0, belt * 0.6), Paint.BLACK, solid=True),
        Face(_box(half, 0.0, length, 0.20, belt), Paint.SIDE, solid=True),
    ]
    faces += _wheels(side, half, 0.33, 0.85, 3.55)
    if side:
        faces.append(Face(_along(side * half, 1.2, 3.2, 0.46, 0.50), Paint.DARK, 22.0))
    faces += [
        Face(_near(-half, half, 0.20, belt), Paint.NEAR),
        *_end_of_car(front, half, belt),
        Face(_top(half, 0.0, base[0], belt), Paint.TOP),
        Face(_top(half, base[1], length, belt), Paint.TOP),
        Face((*_top(in_base, *base, belt), *_top(in_top, *top, roof)), Paint.SIDE, solid=True),
    ]
    if side:
        lower, upper = side * in_base * 0.985, side * in_top * 1.04
        rear_y, middle = top[1] + 0.45 * (base[1] - top[1]), (base[0] + base[1]) / 2
        for y0, y1, t0, t1 in (
            (base[0] + 0.25, middle - 0.04, top[0] + 0.06, middle - 0.04),
            (middle + 0.05, rear_y, middle + 0.05, top[1] - 0.06),
        ):
            window = (
                (lower, y0, belt + 0.05),
                (lower, y1, belt + 0.05),
                (upper, t1, roof - 0.08),
                (upper, t0, roof - 0.08),
            )
            faces.append(Face(window, Paint.SIDE_GLASS, 8.0))
    screen = (
        (-in_base * 0.90, base[0] + 0.04, belt + 0.03),
        (in_base * 0.90, base[0] + 0.04, belt + 0.03),
        (in_top * 0.88, top[0] - 0.05, roof - 0.05),
        (-in_top * 0.88, top[0] - 0.05, roof - 0.05),
    )
    pillars = (
        (-in_base, base[0], belt),
        (in_base, base[0], belt),
        (in_top, top[0], roof),
        (-in_top, top[0], roof),
    )
    faces += [
        Face(pillars, Paint.NEAR),
        Face(screen, Paint.GLASS, 5.0),
        Face(_top(in_top, *top, roof), Paint.TOP),
    ]
    return faces


def _van(front: bool, side: Side) -> list[Face]:
    length, half, belt, roof = 5.3, 1.0, 1.12, 2.15
    nose = 0.75  # length of the bonnet; the windscreen leans back over a further 0.55 m
    body = (nose, length) if front else (0.0, length - nose)
    roof_y = (nose + 0.55, length) if front else (0.0, length - nose - 0.55)
    inner = half * 0.94
    faces = [
        Face(_box(half * 0.96, 0.05, length, 0.0, 0.6), Paint.BLACK, solid=True),
        Face(_box(half, 0.0, length, 0.22, belt), Paint.SIDE, solid=True),
        Face((*_top(half, *body, belt), *_top(inner, *roof_y, roof)), Paint.SIDE, solid=True),
    ]
    faces += _wheels(side, half, 0.36, 0.95, 4.25)
    if side:
        cab = (nose + 0.45, nose + 1.5) if front else (length - nose - 1.5, length - nose - 0.45)
        faces += [
            Face(_along(side * half * 0.985, *cab, belt + 0.1, roof - 0.35), Paint.SIDE_GLASS, 8.0),
            Face(_along(side * half, 1.9, 1.95, 0.4, 1.9), Paint.DARK, 20.0),
        ]
    if front:
        faces += [
            Face(_near(-half, half, 0.22, belt), Paint.NEAR),
            *_end_of_car(front, half, belt),
            Face(_top(half, 0.0, nose, belt), Paint.TOP),
            Face(
                (
                    (-half, nose, belt),
                    (half, nose, belt),
                    (inner, nose + 0.55, roof),
                    (-inner, nose + 0.55, roof),
                ),
                Paint.NEAR,
            ),
            Face(
                (
                    (-half * 0.88, nose + 0.04, belt + 0.06),
                    (half * 0.88, nose + 0.04, belt + 0.06),
                    (inner * 0.88, nose + 0.43, roof - 0.24),
                    (-inner * 0.88, nose + 0.43, roof - 0.24),
                ),
                Paint.GLASS,
                5.0,
            ),
        ]
    else:
        faces += [
            Face(_near(-half, half, 0.22, belt), Paint.NEAR),
            Face(
                ((-half, 0.0, belt), (half, 0.0, belt), (inner, 0.0, roof), (-inner, 0.0, roof)),
                Paint.NEAR,
            ),
            *_mirrored((0.08, 0.80), (belt + 0.14, roof - 0.22), Paint.GLASS, 6.0),
            Face(_near(-0.02, 0.02, 0.3, roof - 0.1), Paint.DARK, 16.0),
            *_mirrored((0.86, 0.97), (0.75, 1.25), Paint.TAILLIGHT, 8.0),
            Face(_near(-0.97, 0.97, 0.20, 0.36), Paint.DARK, 7.0),
            Face(_near(0.2, 0.72, 0.45, 0.57), Paint.PLATE, 16.0),
        ]
    faces.append(Face(_top(inner, *roof_y, roof), Paint.TOP))
    return faces


def _bus(front: bool, side: Side) -> list[Face]:
    length, half, roof = 11.5, 1.25, 3.1
    faces = [
        Face(_box(half * 0.97, 0.05, length, 0.0, 0.6), Paint.BLACK, solid=True),
        Face(_box(half, 0.0, length, 0.28, roof), Paint.SIDE, solid=True),
    ]
    faces += _wheels(side, half, 0.48, *((2.6, 8.6) if front else (2.9, 8.9)))
    if side:
        for number in range(7):
            y = 0.55 + number * 1.53
            faces.append(Face(_along(side * half, y, y + 1.28, 1.45, 2.5), Paint.SIDE_GLASS, 7.0))
        faces.append(Face(_along(side * half, 0.2, length - 0.2, 0.62, 0.68), Paint.DARK, 20.0))
    faces.append(Face(_near(-half, half, 0.28, roof), Paint.NEAR))
    if front:
        faces += [
            Face(_near(-1.12, 1.12, 1.22, 2.52), Paint.GLASS, 4.0),
            Face(_near(-0.03, 0.03, 1.22, 2.52), Paint.DARK, 18.0),
            Face(_near(-0.95, 0.95, 2.64, 2.94), Paint.DARK, 9.0),
            Face(_near(-0.70, 0.55, 2.72, 2.86), Paint.HEADLIGHT, 14.0),
            *_mirrored((0.82, 1.15), (0.62, 0.84), Paint.HEADLIGHT, 7.0),
        ]
    else:
        faces += [
            Face(_near(-0.95, 0.95, 1.75, 2.55), Paint.GLASS, 4.0),
            Face(_near(-0.62, 0.62, 0.85, 1.35), Paint.DARK, 10.0),
            *_mirrored((1.00, 1.18), (0.80, 1.30), Paint.TAILLIGHT, 8.0),
        ]
    faces += [
        Face(_near(-1.22, 1.22, 0.26, 0.46), Paint.DARK, 7.0),
        Face(_near(-0.26, 0.26, 0.50, 0.62), Paint.PLATE, 16.0),
        Face(_top(half, 0.0, length, roof), Paint.TOP),
        Face(_top(0.75, 3.0, 5.0, roof), Paint.METAL, 10.0),
        Face(_top(0.45, 7.6, 8.6, roof), Paint.METAL, 10.0),
    ]
    return faces


def _truck(front: bool, side: Side) -> list[Face]:
    length, half, roof = 9.0, 1.25, 3.4
    cab_length, gap, cab_half, cab_roof = 2.1, 0.25, 1.18, 2.85
    cab = (0.0, cab_length) if front else (length - cab_length, length)
    box = (cab_length + gap, length) if front else (0.0, length - cab_length - gap)
    wheels = (1.1, 6.6, 7.7) if front else (1.3, 2.4, 7.9)

    cab_faces = [Face(_box(cab_half, *cab, 0.30, cab_roof), Paint.SIDE, solid=True)]
    if side:
        window = (cab[0] + 0.35, cab[0] + 1.35) if front else (cab[1] - 1.35, cab[1] - 0.35)
        cab_faces.append(Face(_along(side * cab_half, *window, 1.7, 2.5), Paint.SIDE_GLASS, 7.0))
    if front:
        cab_faces += [
            Face(_near(-cab_half, cab_half, 0.30, cab_roof), Paint.NEAR),
            Face(_near(-1.02, 1.02, 1.62, 2.48), Paint.GLASS, 4.0),
            Face(_near(-0.80, 0.80, 0.95, 1.35), Paint.DARK, 10.0),
            *_mirrored((0.70, 1.08), (0.58, 0.80), Paint.HEADLIGHT, 7.0),
            Face(_near(-1.15, 1.15, 0.28, 0.48), Paint.DARK, 7.0),
            Face(_near(-0.26, 0.26, 0.52, 0.64), Paint.PLATE, 16.0),
        ]
    cab_faces.append(Face(_top(cab_half, *cab, cab_roof), Paint.TOP))

    box_faces = [Face(_box(half, *box, 0.75, roof), Paint.CARGO_SIDE, solid=True)]
    if side:
        box_faces.append(Face(_along(side * half, *box, 0.75, 0.88), Paint.DARK, 9.0))
    box_faces.append(Face(_near(-half, half, 0.75, roof, box[0]), Paint.CARGO_NEAR))
    if not front:
        box_faces += [
            Face(_near(-0.025, 0.025, 0.85, roof - 0.1), Paint.DARK, 12.0),
            *_mirrored((0.55, 0.60), (0.85, roof - 0.1), Paint.METAL, 18.0),
            Face(_near(-1.2, 1.2, 0.42, 0.72), Paint.DARK, 5.0),
            *_mirrored((0.85, 1.15), (0.48, 0.66), Paint.TAILLIGHT, 8.0),
        ]
    box_faces.append(Face(_top(half, *box, roof), Paint.CARGO_TOP))

    under = Face(_box(cab_half * 0.96, 0.05, length, 0.0, 0.9), Paint.BLACK, solid=True)
    bodies = [*box_faces, *cab_faces] if front else [*cab_faces, *box_faces]
    return [under, *_wheels(side, half, 0.5, *wheels), *bodies]
