from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import BadInput
from carpool.synth.barcode import CELL, CELLS, HEIGHT, WIDTH, paint_barcode, read_barcode


def grey_image() -> np.ndarray:
    return np.full((64, 320, 3), 130, np.uint8)


@given(st.integers(0, 2**20 - 1))
@settings(max_examples=50)
def test_gives_back_every_number(number):
    image = grey_image()
    paint_barcode(image, number)
    assert read_barcode(image) == number


def test_changes_nothing_beside_its_strip():
    image = grey_image()
    paint_barcode(image, 4711)
    image[:HEIGHT, :WIDTH] = 130
    assert (image == grey_image()).all()


@given(st.integers(0, 2**20 - 1), st.integers(2, CELLS - 1))
@settings(max_examples=50)
def test_refuses_any_single_wrong_cell(number, cell):
    image = grey_image()
    paint_barcode(image, number)
    place = image[:HEIGHT, cell * CELL : (cell + 1) * CELL]
    place[:] = 255 - place
    with pytest.raises(BadInput, match="damaged"):
        read_barcode(image)


@pytest.mark.parametrize("level", [0, 130, 255])
def test_refuses_an_image_without_barcode(level):
    with pytest.raises(BadInput, match="no barcode"):
        read_barcode(np.full((64, 320, 3), level, np.uint8))


def test_refuses_an_image_too_small_for_one():
    with pytest.raises(BadInput, match="too small"):
        read_barcode(np.zeros((4, 320, 3), np.uint8))


@pytest.mark.parametrize("number", [-1, 2**20])
def test_refuses_to_paint_what_does_not_fit(number):
    with pytest.raises(ValueError, match="frame_index"):
        paint_barcode(grey_image(), number)
