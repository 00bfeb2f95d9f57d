from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from carpool.synth.barcode import HEIGHT as BARCODE_HEIGHT
from carpool.synth.barcode import read_barcode
from carpool.synth.draw import MIN_VISIBLE_PIXELS
from carpool.synth.road import OVERPASS_Y, Camera
from carpool.synth.scene import Scene
from carpool.synth.settings import SceneSettings

SETTINGS = SceneSettings(seed=11, frames=120, width=320, height=180)


@pytest.fixture(scope="module")
def clip():
    """All frames of one scene and their boxes."""
    scene = Scene(SETTINGS)
    return [scene.frame(index) for index in range(SETTINGS.frames)]


def test_same_settings_give_the_same_pixels_and_boxes_in_any_order(clip):
    scene = Scene(SETTINGS)
    for index in (77, 3, 119, 3):
        image, boxes = scene.frame(index)
        assert np.array_equal(image, clip[index][0])
        assert boxes == clip[index][1]


def test_another_seed_gives_another_scene(clip):
    image, boxes = Scene(replace(SETTINGS, seed=12)).frame(50)
    assert not np.array_equal(image, clip[50][0])
    assert boxes != clip[50][1]


def test_noise_differs_from_frame_to_frame():
    scene = Scene(replace(SETTINGS, vehicles_per_minute=0.0, brightness_drift=0.0))
    first, second = scene.frame(0)[0].astype(int), scene.frame(1)[0].astype(int)
    difference = np.abs(first - second)[BARCODE_HEIGHT:]
    assert 0.5 < difference.mean() < 6.0


def test_exposure_drifts_by_what_is_asked():
    scene = Scene(replace(SETTINGS, vehicles_per_minute=0.0, frames=300, brightness_drift=0.2))
    levels = np.array([scene.frame(index)[0].mean() for index in range(0, 300, 15)])
    assert 0.30 < np.ptp(levels) / levels.mean() < 0.45


def test_boxes_lie_inside_the_picture_and_are_not_empty(clip):
    for _, boxes in clip:
        for box in boxes:
            assert 0 <= box.x1 < box.x2 <= SETTINGS.width
            assert BARCODE_HEIGHT <= box.y1 < box.y2 <= SETTINGS.height
            assert 0 < box.visibility <= 1


def test_a_track_keeps_its_class_and_moves_without_jumps(clip):
    tracks = defaultdict(list)
    for index, (_, boxes) in enumerate(clip):
        assert [box.track_id for box in boxes] == sorted({box.track_id for box in boxes})
        for box in boxes:
            tracks[box.track_id].append((index, box))
    assert len(tracks) > 5
    for seen in tracks.values():
        assert len({(box.class_id, box.class_name) for _, box in seen}) == 1
        for (before, old), (after, new) in pairwise(seen):
            whole = min(old.visibility, new.visibility) > 0.95
            if after == before + 1 and whole:
                # At most a step of 1 m, where a metre is largest.
                assert abs(new.x2 - old.x2) < 14
                assert abs(new.y2 - old.y2) < 14


def test_vehicles_grow_towards_the_camera(clip):
    tracks = defaultdict(list)
    for _, boxes in clip:
        for box in boxes:
            if box.visibility > 0.98:
                tracks[box.track_id].append(box)
    grown = [
        (seen[-1].y2 > seen[0].y2) == (seen[-1].x2 - seen[-1].x1 > seen[0].x2 - seen[0].x1)
        for seen in tracks.values()
        if abs(seen[-1].y2 - seen[0].y2) > 20
    ]
    assert len(grown) >= 3
    assert all(grown)


def test_occlusion_lowers_visibility():
    settings = replace(SETTINGS, frames=200, vehicles_per_minute=120.0)
    plain = Scene(replace(settings, occluders=False))
    hidden = Scene(settings)
    lost = 0
    for index in range(0, settings.frames, 10):
        behind = {box.track_id: box.visibility for box in hidden.frame(index)[1]}
        free = {box.track_id: box.visibility for box in plain.frame(index)[1]}
        assert behind.keys() <= free.keys()
        for track_id, visibility in free.items():
            assert behind.get(track_id, 0.0) <= visibility + 1e-9
            lost += behind.get(track_id, 0.0) < visibility - 0.1
    assert lost >= 3


def test_a_box_holds_its_vehicle_and_nothing_moves_outside(clip):
    settings = replace(SETTINGS, noise=0.0, brightness_drift=0.0)
    empty = Scene(replace(settings, vehicles_per_minute=0.0)).frame(0)[0].astype(int)
    scene = Scene(settings)
    compared = 0
    for index in (10, 60, 110):
        image, boxes = scene.frame(index)
        # A shadow darkens the ground by half; a vehicle's colours differ from it by far more.
        vivid = image.max(axis=2).astype(int) - image.min(axis=2) > 90
        changed = vivid & (np.abs(image.astype(int) - empty).sum(axis=2) > 120)
        inside = np.zeros_like(changed)
        for box in boxes:
            # A pixel more on each side: the soft edge.
            top, left = max(0, int(box.y1) - 1), max(0, int(box.x1) - 1)
            inside[top : int(box.y2) + 1, left : int(box.x2) + 1] = True
        compared += int(changed.sum())
        # What shows of a vehicle that is as good as hidden is in no box.
        assert (changed & ~inside).sum() < MIN_VISIBLE_PIXELS
    assert compared > 2000


def test_frames_carry_their_number(clip):
    assert [read_barcode(image) for image, _ in clip] == list(range(SETTINGS.frames))


@pytest.mark.parametrize("index", [-1, 120])
def test_refuses_frames_it_does_not_have(index):
    with pytest.raises(IndexError):
        Scene(SETTINGS).frame(index)


@pytest.mark.parametrize("size", [(256, 144), (640, 640), (1280, 300)])
def test_paints_pictures_of_any_shape(size):
    settings = replace(SETTINGS, width=size[0], height=size[1], lanes=6)
    image, boxes = Scene(settings).frame(100)
    assert image.shape == (size[1], size[0], 3)
    assert boxes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("frames", 0),
        ("frames", 2**20 + 1),
        ("fps", 0),
        ("width", 200),
        ("height", 181),
        ("lanes", 9),
        ("vehicles_per_minute", -1.0),
        ("vehicles_per_minute", float("nan")),
        ("noise", 31.0),
        ("brightness_drift", 0.5),
    ],
)
def test_refuses_settings_that_cannot_be_rendered(name, value):
    with pytest.raises(ValueError, match=name):
        replace(SETTINGS, **{name: value})


def test_times_are_exact_to_the_nanosecond():
    assert SETTINGS.pts_ns(1) == 40_000_000
    assert replace(SETTINGS, fps=30).pts_ns(1) == 33_333_333
    assert replace(SETTINGS, fps=30).pts_ns(2) == 66_666_667


def test_projection_keeps_lengths_and_the_horizon():
    camera = Camera.of(SETTINGS)
    near, far = np.array([[0.0, 20.0, 0.0], [2.0, 20.0, 0.0]]), np.array([[0.0, 1e9, 0.0]])
    (u0, v0), (u1, v1) = camera.project(near)
    assert u1 - u0 == pytest.approx(2.0 * camera.scale(20.0))
    assert v0 == v1 == pytest.approx(camera.row(20.0))
    assert camera.project(far)[0, 1] == pytest.approx(camera.horizon_v, abs=1e-3)
    assert camera.row(OVERPASS_Y) < camera.row(20.0)
