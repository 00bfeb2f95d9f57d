"""The frame's number, painted into the frame.

A strip of black and white cells in the top left corner proves which frame was decoded, whatever the
codec, the seek or the cut did: the number is in the pixels. Each cell is one 8 x 8 block of the
usual codecs, hence nearly flat after the transform, and survives strong compression. Layout, from
the left: a white and a black cell (they give the threshold), 20 bits of the index, 8 bits of
CRC-8, most significant bit first; white is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carpool.errors import BadInput

if TYPE_CHECKING:
    from carpool.vision.handler import Image

CELL = 8
INDEX_BITS = 20
CHECK_BITS = 8
CELLS = 2 + INDEX_BITS + CHECK_BITS
WIDTH, HEIGHT = CELLS * CELL, CELL
"""Size of the strip in pixels. No vehicle is ever there."""

_POLYNOMIAL = 0x07  # CRC-8 of ITU-T I.432.1: x^8 + x^2 + x + 1
_MIN_CONTRAST = 64


def paint_barcode(image: Image, frame_index: int) -> None:
    """Paint a frame's number into its corner.

    Args:
        image: uint8 [H, W, 3], W ≥ `WIDTH`; changed in place.
        frame_index: from 0, below 2**20.
    """
    if not 0 <= frame_index < 1 << INDEX_BITS:
        raise ValueError(f"frame_index: {frame_index} does not fit into {INDEX_BITS} bits")
    word = (0b10 << INDEX_BITS | frame_index) << CHECK_BITS | _check(frame_index)
    bits = word >> np.arange(CELLS - 1, -1, -1) & 1
    image[:HEIGHT, :WIDTH] = np.repeat(bits * 255, CELL).astype(np.uint8)[None, :, None]


def read_barcode(image: Image) -> int:
    """The number that `paint_barcode` painted into a frame.

    Args:
        image: uint8 [H, W, 3] of the size at which it was rendered.

    Raises:
        BadInput: there is no barcode, or it is damaged.
    """
    if image.shape[0] < HEIGHT or image.shape[1] < WIDTH:
        raise BadInput(f"image: found {image.shape}, too small to hold a barcode")
    # Cells bleed into each other under compression: their inner halves do not.
    cells = image[:HEIGHT, :WIDTH].reshape(CELL, CELLS, CELL, -1)[2:-2, :, 2:-2]
    levels = cells.mean(axis=(0, 2, 3))
    white, black = levels[0], levels[1]
    if white - black < _MIN_CONTRAST:
        raise BadInput("image: no barcode in the top left corner")
    bits = (levels[2:] > (white + black) / 2).astype(np.int64)
    word = int(bits @ (1 << np.arange(len(bits) - 1, -1, -1)))
    frame_index, check = word >> CHECK_BITS, word & (1 << CHECK_BITS) - 1
    if check != _check(frame_index):
        raise BadInput("image: the barcode is damaged (its check bits do not match)")
    return frame_index


def _check(frame_index: int) -> int:
    """CRC-8 of the index; finds any damage that spans up to eight neighbouring bits."""
    remainder = frame_index << CHECK_BITS
    for bit in range(INDEX_BITS + CHECK_BITS - 1, CHECK_BITS - 1, -1):
        if remainder >> bit & 1:
            remainder ^= (1 << CHECK_BITS | _POLYNOMIAL) << bit - CHECK_BITS
    return remainder
