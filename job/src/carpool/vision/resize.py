"""Fitting a frame into a slot, and boxes back to the frame.

The frame is written straight into the slot's memory: a copy per frame would cost as much as the
resize itself. What must stay true: `fit` never allocates an image of the slot's size, and
`Placement.to_source` is the exact inverse of what `fit` did, so that boxes do not drift with the
size of the model's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from carpool.errors import HandlerError

if TYPE_CHECKING:
    from carpool.vision.detector_parameters import ResizeMode
    from carpool.vision.handler import Image, Rows

PADDING_GREY = 114
"""The grey of letterbox borders, as the YOLO family is trained with."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a source frame lies in a slot.

    Attributes:
        left: columns of padding left of the frame.
        top: rows of padding above the frame.
        scale_x: slot pixels per source pixel, horizontally.
        scale_y: the same, vertically.
        width: width of the source frame in pixels.
        height: height of the source frame in pixels.
    """

    left: int
    top: int
    scale_x: float
    scale_y: float
    width: int
    height: int

    def to_source(self, rows: Rows) -> Rows:
        """Map boxes of the slot to the source frame and clip them to it.

        Args:
            rows: float32 [k, n], n ≥ 4, the first four columns x1, y1, x2, y2 in slot pixels.

        Returns:
            float32 [k, n], a new array; columns beyond the fourth as they were.
        """
        found = np.array(rows, dtype=np.float32)
        found[:, 0:4:2] = np.clip((rows[:, 0:4:2] - self.left) / self.scale_x, 0, self.width)
        found[:, 1:4:2] = np.clip((rows[:, 1:4:2] - self.top) / self.scale_y, 0, self.height)
        return found


def fit(frame: Image, out: Image, mode: ResizeMode) -> Placement:
    """Write a frame into a slot, resized by bilinear interpolation on uint8.

    Args:
        frame: uint8 [H, W, 3].
        out: uint8 [h, w, 3], written in place; may be a view of shared memory.
        mode: "Stretch" fills `out`; "Letterbox" keeps the aspect ratio, centres the frame and
            fills the rest with grey.

    Returns:
        The placement, for mapping boxes back.

    Raises:
        HandlerError: frame or slot is not a uint8 image of three channels, or the slot's layout is
            one that OpenCV cannot write to.
    """
    for name, image in (("frame", frame), ("slot", out)):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise HandlerError(
                f"{name}: found {image.dtype} of shape {image.shape}, expected uint8 [H, W, 3]"
            )
    if out.strides[0] <= 0 or out.strides[1:] != (3, 1):
        raise HandlerError(f"slot: found strides {out.strides}, expected rows of whole pixels")
    height, width = frame.shape[:2]
    slot_height, slot_width = out.shape[:2]
    if mode == "Stretch":
        _resize_into(frame, out)
        return Placement(0, 0, slot_width / width, slot_height / height, width, height)
    scale = min(slot_width / width, slot_height / height)
    inner_width = min(slot_width, max(1, round(width * scale)))
    inner_height = min(slot_height, max(1, round(height * scale)))
    left, top = (slot_width - inner_width) // 2, (slot_height - inner_height) // 2
    right, bottom = left + inner_width, top + inner_height
    out[:top], out[bottom:] = PADDING_GREY, PADDING_GREY
    out[top:bottom, :left], out[top:bottom, right:] = PADDING_GREY, PADDING_GREY
    _resize_into(frame, out[top:bottom, left:right])
    # Rounding the inner size makes the two scales differ slightly; boxes must use the real ones.
    return Placement(left, top, inner_width / width, inner_height / height, width, height)


def _resize_into(frame: Image, target: Image) -> None:
    """Resize into `target` in place; a plain copy where the sizes are equal."""
    if frame.shape == target.shape:
        np.copyto(target, frame)
        return
    height, width = target.shape[:2]
    cv2.resize(frame, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
