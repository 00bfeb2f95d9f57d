from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from carpool.inputs.filesystem import InputFile
from carpool.inputs.video_decode import FrameRange
from carpool.plan.identity import fingerprint, unit_id, unreadable_id, video_id

FILE = InputFile("s3://bucket/a.mp4", "a.mp4", 1000, 17)
FRAMES = FrameRange(10, np.arange(5) * 40)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    one = fingerprint({"sha256": "ab", "parameters": {"inputSize": [416, 416], "iou": 0.45}})
    other = fingerprint({"parameters": {"iou": 0.45, "inputSize": [416, 416]}, "sha256": "ab"})
    assert one == other
    assert len(one) == 32
    assert int(one, 16) >= 0


def test_fingerprints_stay_what_they_were():
    # Changing this makes every result that users have unknown to the next release.
    assert fingerprint({"model": "ü", "n": 1}) == "63d075d4f82812f4b1b6bc3f2b759f5f"
    assert unit_id(FILE, FRAMES, 1, "ab") == "069c3c4ae2d9ac0a7d1ef07d2174f2a4"


@pytest.mark.parametrize(
    "facts",
    [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"a": None}, {"b": 1}, {"a": True}, {}],
)
def test_other_facts_give_another_fingerprint(facts):
    others = [{"a": 2}, {"a": [2]}, {"a": {"a": 1}}]
    assert fingerprint(facts) not in {fingerprint(other) for other in others}


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError):
        fingerprint({"a": {1, 2}})
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"a": math.nan})


def test_a_unit_is_another_when_file_range_sampling_or_model_is_another():
    ids = {
        unit_id(FILE, FRAMES, 1, "m"),
        unit_id(replace(FILE, uri="s3://bucket/b.mp4"), FRAMES, 1, "m"),
        unit_id(replace(FILE, size=1001), FRAMES, 1, "m"),
        unit_id(replace(FILE, modified_ns=18), FRAMES, 1, "m"),
        unit_id(FILE, FrameRange(11, FRAMES.pts_ns), 1, "m"),
        unit_id(FILE, FrameRange(10, FRAMES.pts_ns[:4]), 1, "m"),
        unit_id(FILE, FRAMES, 2, "m"),
        unit_id(FILE, FRAMES, 1, "n"),
        video_id(FILE, 1, "m"),
        video_id(FILE, 2, "m"),
        unreadable_id(FILE, "m"),
    }
    assert len(ids) == 11


def test_the_path_below_the_input_root_is_no_part_of_an_identity():
    moved = replace(FILE, path="in/a.mp4")
    assert unit_id(moved, FRAMES, 1, "m") == unit_id(FILE, FRAMES, 1, "m")
