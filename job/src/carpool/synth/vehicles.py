"""The four kinds of vehicle: how large, how fast, how frequent, and in which colours.

A kind is told by its shape and size, and also by its body colour: each has hues of its own, taken
from the colour oracle, so that a detector without a network can find and name vehicles. Nothing
else in a scene may have such a hue with so much saturation.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from carpool.vision.oracle import FAMILIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASS_NAMES = tuple(family.name for family in FAMILIES)


class Paint(IntEnum):
    """Which colour of a vehicle a face has: a row of `Look.colours`."""

    NEAR = 0  # body, the face turned to the camera
    TOP = 1
    SIDE = 2
    CARGO_NEAR = 3  # a truck's box
    CARGO_TOP = 4
    CARGO_SIDE = 5
    GLASS = 6
    SIDE_GLASS = 7
    BLACK = 8  # tyres, bumpers, what lies in shade
    DARK = 9  # grille, frames, gaps between doors
    METAL = 10  # rims, roof fittings
    HEADLIGHT = 11
    TAILLIGHT = 12
    PLATE = 13


@dataclass(frozen=True, slots=True)
class VehicleKind:
    """What vehicles of a class have in common.

    Attributes:
        class_id: index into `CLASS_NAMES`.
        name: the class name.
        length: metres.
        width: metres.
        height: metres.
        speed: lowest and highest wished speed in m/s.
        share: part of the traffic, 0 to 1.
    """

    class_id: int
    name: str
    length: float
    width: float
    height: float
    speed: tuple[float, float]
    share: float


KINDS = (
    VehicleKind(0, "car", 4.4, 1.8, 1.46, (9.5, 16.0), 0.56),
    VehicleKind(1, "van", 5.3, 2.0, 2.15, (9.0, 14.5), 0.19),
    VehicleKind(2, "bus", 11.5, 2.5, 3.1, (8.0, 11.5), 0.10),
    VehicleKind(3, "truck", 9.0, 2.5, 3.4, (8.0, 12.0), 0.15),
)


@dataclass(frozen=True, slots=True)
class Look:
    """One vehicle's kind and colours.

    Attributes:
        kind: its kind.
        colours: float64 [len(Paint), 3], BGR in full daylight.
    """

    kind: VehicleKind
    colours: NDArray[np.float64]


def choose_look(kind: VehicleKind, number: int, rng: np.random.Generator) -> Look:
    """A vehicle of a kind, painted in some colour of its class.

    Args:
        kind: the kind.
        number: how many of this kind went the same way before it: the hues of a class take turns,
            so that neighbours stand out against each other.
        rng: for the shade of the colour.
    """
    hues = FAMILIES[kind.class_id].hues
    # Most of the tolerance is left to what noise and chroma subsampling do to a colour.
    hue = hues[number % len(hues)] + rng.uniform(-1.2, 1.2)
    saturation = rng.uniform(0.74, 0.92)
    value = rng.uniform(0.60, 0.86)
    body = _bgr(hue, saturation, value)
    cargo = _bgr(hue, saturation * 0.84, min(0.88, value * 1.15))
    colours = np.empty((len(Paint), 3))
    for first, paint in ((Paint.NEAR, body), (Paint.CARGO_NEAR, cargo)):
        # The sun stands high and to the left behind the camera.
        colours[first : first + 3] = np.outer((0.92, 1.12, 0.70), paint)
    colours[Paint.GLASS] = (76, 64, 56)
    colours[Paint.SIDE_GLASS] = (58, 50, 46)
    colours[Paint.BLACK] = (30, 29, 29)
    colours[Paint.DARK] = (52, 50, 50)
    colours[Paint.METAL] = (168, 166, 164)
    colours[Paint.HEADLIGHT] = (226, 238, 242)
    colours[Paint.TAILLIGHT] = (98, 96, 152)
    colours[Paint.PLATE] = (205, 212, 214)
    return Look(kind, colours)


def _bgr(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """BGR 0 to 255 of a hue in OpenCV's half degrees (also below zero), saturation and value."""
    red, green, blue = colorsys.hsv_to_rgb((hue / 180.0) % 1.0, saturation, value)
    return np.array((blue, green, red)) * 255.0
