from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from carpool.outputs.contact_sheet import Tile, draw_contact_sheet, track_colour


def tile(width=640, height=360, boxes=(), ids=None, title="a.mp4  frame 7"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Tile(
        image=np.full((height, width, 3), 90, np.uint8),
        boxes=boxes,
        class_names=["car"] * len(boxes),
        track_ids=np.array(range(len(boxes)) if ids is None else ids, np.int64),
        title=title,
    )


def drawn(*tiles, **arguments):
    jpeg = np.frombuffer(draw_contact_sheet(tiles, **arguments), np.uint8)
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)


def near(image, colour, tolerance=40):
    """Pixels of about this colour (a JPEG is not exact)."""
    return np.abs(image.astype(int) - colour).max(axis=2) < tolerance


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, 3, (1, 1)), (4, 3, (2, 3)), (6, 2, (3, 2))]
)
def test_tiles_stand_in_rows_and_columns(count, columns, shape):
    image = drawn(*[tile()] * count, columns=columns)

    rows, across = shape
    assert image.shape == (rows * (26 + 270 + 4) + 4, across * 484 + 4, 3)


def test_frames_of_different_shapes_fit_together():
    image = drawn(tile(640, 360), tile(360, 640), tile(100, 100))

    assert image.shape == (26 + round(640 * 480 / 360) + 8, 3 * 484 + 4, 3)


def test_a_box_is_drawn_where_it_is_in_the_scaled_frame_in_the_colour_of_its_track():
    image = drawn(tile(960, 540, boxes=[[300, 200, 500, 400]], ids=[5]))

    left, top = 4, 4 + 26
    edge = image[top + 105 : top + 195, left + 149 : left + 152]
    assert near(edge, track_colour(5)).mean() > 0.5
    assert not near(image[top + 115 : top + 185, left + 165 : left + 235], track_colour(5)).any()


def test_a_track_has_one_colour_and_neighbours_differ():
    colours = [np.array(track_colour(track_id)) for track_id in range(200)]

    assert track_colour(7) == track_colour(7)
    for first, second in itertools.pairwise(colours):
        assert np.abs(first - second).max() > 60
    assert len({tuple(colour) for colour in colours}) == 200


def test_labels_of_neighbours_do_not_hide_each_other():
    boxes = [[100, 100, 140, 130], [110, 100, 150, 130], [120, 100, 160, 130]]
    alone = [
        near(drawn(tile(boxes=[box], ids=[n])), track_colour(n)).sum()
        for n, box in enumerate(boxes)
    ]
    together = drawn(tile(boxes=boxes))

    for track_id, visible_alone in enumerate(alone):
        assert near(together, track_colour(track_id)).sum() > 0.6 * visible_alone


def test_labels_stay_inside_the_frame():
    corners = [[0, 0, 20, 20], [620, 0, 640, 20], [0, 340, 20, 360], [620, 340, 640, 360]]
    image = drawn(tile(boxes=corners, title=""))

    paper = np.concatenate((image[:28].reshape(-1, 3), image[-3:].reshape(-1, 3)))
    assert paper.max() < 60


@pytest.mark.parametrize("title", ["", "x" * 500, "Straße/Kreuzung 4.mp4", "交差点.mp4"])
def test_any_title_can_be_drawn(title):
    assert drawn(tile(title=title)).shape[1] == 488


def test_a_box_without_track_is_named_by_its_class_alone():
    image = drawn(tile(boxes=[[200, 100, 300, 200]], ids=[-1]))

    assert near(image, track_colour(-1)).sum() > 500


def test_the_frame_is_not_drawn_upon():
    one = tile(480, 270, boxes=[[100, 100, 200, 200]])
    before = one.image.copy()

    draw_contact_sheet([one])

    assert np.array_equal(one.image, before)


def test_no_tiles_are_no_sheet():
    with pytest.raises(ValueError, match="at least one"):
        draw_contact_sheet([])


def test_a_tile_whose_arrays_do_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="do not belong together"):
        draw_contact_sheet([tile(boxes=[[1, 2, 3, 4]], ids=[1, 2])])
