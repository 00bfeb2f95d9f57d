"""A detector without a network: finds the vehicles of rendered traffic by their colours.

It lets the whole pipeline, from decoding to tracks, be tested on any machine in seconds and with
results that are equal to the last bit. It is a handler like any other and knows nothing of the
renderer, except that each class of vehicle has hues of its own, `FAMILIES`, and that nothing else
in a scene is as vivid in these hues. What must stay true: an item's rows depend on its pixels
alone, never on the other items of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import cv2
import numpy as np

from carpool.vision.detector_parameters import (
    DetectorParameters,
    read_integer,
    read_number,
    refuse_unknown,
)
from carpool.vision.handler import Handler, Image, LoadContext, Rows
from carpool.vision.resize import Placement, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Boxes = NDArray[np.float64]
    Areas = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColourFamily:
    """The colours of a class of vehicle.

    Attributes:
        name: the class name.
        hues: in OpenCV's half degrees (a circle of 180); a vehicle has one of them.
        max_aspect: width over height beyond which two pieces side by side are two vehicles.
    """

    name: str
    hues: tuple[float, ...]
    max_aspect: float


FAMILIES = (
    ColourFamily("car", (-6.0, 5.0), 2.0),
    ColourFamily("van", (81.0, 92.0), 1.8),
    ColourFamily("bus", (17.0, 27.0), 1.4),
    ColourFamily("truck", (106.0, 117.0), 1.4),
)
"""The classes in the order of their ids."""

HUE_TOLERANCE = 5.4
"""How far a pixel's hue may lie from that of its vehicle: the codec halves colour resolution."""

_OWN_NAMES = ("minSaturation", "minBrightness", "minArea", "mergeGap")
_SHARED_NAMES = ("inputSize", "scoreThreshold", "classes")

_PAINTS = tuple((class_id, hue) for class_id, family in enumerate(FAMILIES) for hue in family.hues)
"""Class and hue of each colour that is looked for; in an image of paints 0 is none, then by one."""

_MIN_FRAGMENT = 4  # pixels; less is noise, wherever it is
_MAX_FRAGMENTS = 120  # of a paint; a video of something else must not take forever
_MAX_HOLLOW = 1.6  # box of two pieces over the sum of their boxes; more is mostly empty
_FULL_FILL = 0.72  # part of its box that a vehicle seen whole fills with its colour
_INSET = 0.8  # a fragment of which so much lies inside a vehicle of another colour ...
_TRIM_AREA = 0.1  # ... and which is so much smaller is a lamp or a reflection of it
_UNDERBODY = 0.065  # of a box's height: bumper and tyres below the coloured body


class ColourOracle(Handler):
    """Finds vehicles of four classes by colour.

    Parameters of a job: `inputSize` (default [360, 640]), `scoreThreshold` (0.25), `classes` as for
    all detectors, and its own:
        minSaturation: 0 to 255; less vivid pixels are background (100).
        minBrightness: 0 to 255; darker pixels are background (52).
        minArea: pixels of the model's input; smaller finds are dropped (40).
        mergeGap: pieces of one colour are one vehicle if the gap between them is at most this part
            of their width, where one is above the other (a window between them), or of their
            height, where they are side by side (a pole before them) (0.4).
    """

    framework: ClassVar[Literal["torch", "numpy"]] = "numpy"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        refuse_unknown(parameters, (*_SHARED_NAMES, *_OWN_NAMES))
        shared = DetectorParameters.from_mapping(
            parameters,
            extra=_OWN_NAMES,
            defaults={
                "inputSize": [360, 640],
                "classNames": [family.name for family in FAMILIES],
            },
        )
        own: dict[str, Any] = {
            "minSaturation": 100,
            "minBrightness": 52,
            "minArea": 40,
            "mergeGap": 0.4,
            **{name: value for name, value in parameters.items() if value is not None},
        }
        self.class_names = shared.class_names
        self.input_shape = (*shared.input_size, 3)
        self._min_saturation = read_integer("minSaturation", own["minSaturation"], 0, 255)
        self._min_brightness = read_integer("minBrightness", own["minBrightness"], 0, 255)
        self._min_area = read_integer("minArea", own["minArea"], 1, 1_000_000)
        self._merge_gap = read_number("mergeGap", own["mergeGap"], 0.0, 2.0)
        self._score_threshold = shared.score_threshold
        self._class_ids = shared.class_ids
        self._paint_of_hue = _paint_of_hue()

    def preprocess(self, frame: Image, out: Image) -> Placement:
        """Stretch the frame into its slot (a copy where the sizes are equal)."""
        return fit(frame, out, "Stretch")

    def load(self, context: LoadContext) -> None:
        """Nothing to load: the hues are the model."""

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Rows]:
        """Find the vehicles of each item.

        Args:
            batch: uint8 [n, h, w, 3] BGR.

        Returns:
            Per item float32 [k, 6], sorted by class and then from top to bottom.
        """
        return [self._find(image) for image in batch]

    def postprocess(self, rows: Rows, info: Placement) -> Rows:
        """Scale boxes back to the source frame and clip them to it."""
        return info.to_source(rows)

    def _find(self, image: Image) -> Rows:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        vivid = cv2.inRange(hsv, (0, self._min_saturation, self._min_brightness), (180, 255, 255))
        paints = cv2.bitwise_and(cv2.LUT(hsv[:, :, 0], self._paint_of_hue), vivid).astype(np.uint8)
        found = [self._find_paint(paints, number) for number in range(len(_PAINTS))]
        boxes = np.concatenate([boxes for boxes, _ in found])
        areas = np.concatenate([areas for _, areas in found])
        numbers = np.repeat(np.arange(len(_PAINTS)), [len(areas) for _, areas in found])
        keep = ~_is_trim(boxes, numbers)
        class_ids = np.array([class_id for class_id, _ in _PAINTS])[numbers[keep]]
        return self._to_rows(boxes[keep], areas[keep], class_ids, image.shape[0])

    def _find_paint(self, paints: Image, number: int) -> tuple[Boxes, Areas]:
        """Boxes and coloured pixels of the vehicles of one paint."""
        mask = cv2.inRange(paints, (number + 1,), (number + 1,))
        left, top, width, height = cv2.boundingRect(mask)
        # Labelling costs more than all else, and most of the picture is road and sky.
        window = np.ascontiguousarray(mask[top : top + height, left : left + width])
        if not window.size:
            return np.empty((0, 4)), np.empty(0)
        count, _, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8)
        stats = np.asarray(stats[1:count], np.float64)  # the first is the background
        stats = stats[stats[:, cv2.CC_STAT_AREA] >= _MIN_FRAGMENT]
        largest = np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")[:_MAX_FRAGMENTS]
        stats = stats[np.sort(largest)]
        corners = stats[:, :2] + np.array((left, top))
        boxes = np.hstack((corners, corners + stats[:, 2:4]))
        areas: Areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
        max_aspect = FAMILIES[_PAINTS[number][0]].max_aspect
        boxes, areas = _merge(boxes, areas, self._merge_gap, max_aspect)
        large = areas >= self._min_area
        return boxes[large], areas[large]

    def _to_rows(
        self, boxes: Boxes, areas: Areas, class_ids: NDArray[np.int64], height: int
    ) -> Rows:
        sizes = boxes[:, 2:] - boxes[:, :2]
        rows = np.empty((len(boxes), 6), np.float32)
        rows[:, :4] = boxes
        rows[:, 3] = np.minimum(boxes[:, 3] + _UNDERBODY * sizes[:, 1], height)
        rows[:, 4] = np.minimum(areas / (sizes.prod(axis=1) * _FULL_FILL), 1.0)
        rows[:, 5] = class_ids
        keep = rows[:, 4] >= self._score_threshold
        if self._class_ids is not None:
            keep &= np.isin(class_ids, sorted(self._class_ids))
        rows = rows[keep]
        best = np.argsort(-rows[:, 4], kind="stable")[: self.output_rows]
        rows = rows[best]
        return rows[np.lexsort((rows[:, 0], rows[:, 1], rows[:, 5]))]


def _paint_of_hue() -> NDArray[np.uint8]:
    """For each of OpenCV's hues the number of its paint plus one, 0 for none: uint8 [256]."""
    table = np.zeros(256, np.uint8)
    hues = np.array([hue for _, hue in _PAINTS])
    # Hue is a circle: a red of -6 is one of 174.
    distance = np.abs((np.arange(180)[:, None] - hues + 90) % 180 - 90)
    nearest = distance.argmin(axis=1)
    table[:180] = np.where(distance.min(axis=1) <= HUE_TOLERANCE, nearest + 1, 0)
    return table


def _merge(boxes: Boxes, areas: Areas, max_gap: float, max_aspect: float) -> tuple[Boxes, Areas]:
    """Join the pieces of each vehicle, pair by pair, since a joined pair may reach a third.

    Args:
        boxes: float64 [k, 4].
        areas: float64 [k], coloured pixels.
        max_gap: see `ColourOracle`.
        max_aspect: see `ColourFamily`.

    Returns:
        Boxes and areas of the vehicles, in the order of their first pieces.
    """
    while len(boxes) > 1:
        first, second = np.triu_indices(len(boxes), k=1)
        one, other = boxes[first], boxes[second]
        union = np.hstack(
            (np.minimum(one[:, :2], other[:, :2]), np.maximum(one[:, 2:], other[:, 2:]))
        )
        # Overlap in x and y, [pairs, 2]; below zero it is a gap.
        overlap = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
        size, other_size = one[:, 2:] - one[:, :2], other[:, 2:] - other[:, :2]
        union_size = union[:, 2:] - union[:, :2]
        smaller, larger = np.minimum(size, other_size), np.maximum(size, other_size)
        aligned = overlap >= 0.5 * smaller
        # A window across the vehicle is as wide as the pieces; behind a pole a sliver may remain.
        stacked = aligned[:, 0] & (-overlap[:, 1] <= max_gap * smaller[:, 0])
        abreast = aligned[:, 1] & (-overlap[:, 0] <= max_gap * larger[:, 1])
        abreast &= union_size[:, 0] <= max_aspect * union_size[:, 1]
        abreast &= union_size.prod(axis=1) <= _MAX_HOLLOW * (
            size.prod(axis=1) + other_size.prod(axis=1)
        )
        pairs = np.flatnonzero(stacked | abreast)
        if not len(pairs):
            break
        a, b = first[pairs[0]], second[pairs[0]]
        boxes[a] = union[pairs[0]]
        areas[a] += areas[b]
        boxes, areas = np.delete(boxes, b, axis=0), np.delete(areas, b)
    return boxes, areas


def _is_trim(boxes: Boxes, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which finds belong to a vehicle of another paint: far smaller and nearly inside it."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    other = numbers[:, None] != numbers[None, :]
    inside = common >= _INSET * area[:, None]
    return np.asarray((other & inside & (area[:, None] < _TRIM_AREA * area[None, :])).any(axis=1))
