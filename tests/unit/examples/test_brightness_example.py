"""The example of a handler keeps the contract it teaches."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "brightness.py"


@pytest.fixture
def handler():
    spec = importlib.util.spec_from_file_location("brightness", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Brightness({"threshold": 100})


@pytest.mark.parametrize(("grey", "name"), [(99, "dark"), (100, "bright")])
def test_a_frame_is_named_by_its_grey_level_and_boxed_whole(handler, grey, name):
    frame = np.full((360, 480, 3), grey, np.uint8)
    item = np.empty(handler.input_shape, np.uint8)
    info = handler.preprocess(frame, item)
    [rows] = handler.predict(item[np.newaxis])
    [[x1, y1, x2, y2, score, kind]] = handler.postprocess(rows, info)
    assert (x1, y1, x2, y2, score) == (0, 0, 480, 360, 1)
    assert handler.class_names[int(kind)] == name
