"""The contact sheet: some frames with their boxes, for a first look at a result.

It is drawn at the size at which it is shown: frames are scaled to tiles first, boxes and labels are
drawn afterwards, so that text is as legible on a 4K source as on a small one. A track has the same
colour in all tiles.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_TILE_WIDTH: Final = 480
_TITLE_HEIGHT: Final = 26
_GAP: Final = 4
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_LABEL_SCALE: Final = 0.42
_TITLE_SCALE: Final = 0.45
_PADDING: Final = 3
_QUALITY: Final = 90
_PAPER: Final = (24, 24, 24)
_INK: Final = (235, 235, 235)
_UNTRACKED: Final = (190, 190, 190)
_GOLDEN_RATIO: Final = 0.618033988749895
"""Hues a golden ratio apart: ids that follow each other never look alike."""

_Colour = tuple[int, int, int]
_Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tile:
    """One frame of the sheet.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        boxes: float32 [k, 4]: x1, y1, x2, y2 in pixels of the image.
        class_names: of each box.
        track_ids: int64 [k]; -1 where a box belongs to no track.
        title: one line above the frame.
    """

    image: _Image
    boxes: NDArray[np.float32]
    class_names: Sequence[str]
    track_ids: NDArray[np.int64]
    title: str


@dataclass(frozen=True, slots=True)
class _Rectangle:
    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: _Rectangle) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def draw_contact_sheet(tiles: Sequence[Tile], columns: int = 3) -> bytes:
    """Draw frames side by side.

    Args:
        tiles: at least one, in reading order.
        columns: tiles in a row; fewer if there are fewer tiles.

    Returns:
        A JPEG.

    Raises:
        ValueError: no tiles, or a tile whose arrays do not belong together.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one frame")
    columns = min(columns, len(tiles))
    drawn = [_draw_tile(tile) for tile in tiles]
    starts = range(0, len(drawn), columns)
    rows = [_side_by_side(drawn[start : start + columns]) for start in starts]
    width = columns * (_TILE_WIDTH + _GAP) + _GAP
    rows = [_padded(row, row.shape[0] + _GAP, width, top=_GAP) for row in rows]
    sheet = np.concatenate([*rows, np.full((_GAP, width, 3), _PAPER, np.uint8)])
    _, jpeg = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(jpeg)


def track_colour(track_id: int) -> _Colour:
    """The colour of a track, BGR; the same in every tile and every sheet."""
    if track_id < 0:
        return _UNTRACKED
    red, green, blue = colorsys.hsv_to_rgb(track_id * _GOLDEN_RATIO % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_tile(tile: Tile) -> _Image:
    count = len(tile.boxes)
    if tile.boxes.shape != (count, 4) or {len(tile.class_names), len(tile.track_ids)} != {count}:
        raise ValueError(
            f"{tile.title}: boxes {tile.boxes.shape}, {len(tile.class_names)} class names and "
            f"{len(tile.track_ids)} track ids do not belong together"
        )
    height, width = tile.image.shape[:2]
    scale = _TILE_WIDTH / width
    frame: _Image = np.empty((max(1, round(height * scale)), _TILE_WIDTH, 3), np.uint8)
    cv2.resize(tile.image, frame.shape[1::-1], dst=frame, interpolation=cv2.INTER_AREA)
    boxes = np.rint(tile.boxes * scale).astype(int).tolist()
    colours = [track_colour(int(track_id)) for track_id in tile.track_ids]
    for (x1, y1, x2, y2), colour in zip(boxes, colours, strict=True):
        cv2.rectangle(frame, (x1, y1), (x2, y2), colour, 2)
    taken: list[_Rectangle] = []
    for box, colour, label in zip(boxes, colours, _labels(tile), strict=True):
        _draw_label(frame, label, box, colour, taken)
    return np.concatenate((_title_bar(tile.title), frame))


def _labels(tile: Tile) -> Iterator[str]:
    for name, track_id in zip(tile.class_names, tile.track_ids.tolist(), strict=True):
        yield f"{name} {track_id}" if track_id >= 0 else name


def _draw_label(
    frame: _Image, label: str, box: Sequence[int], colour: _Colour, taken: list[_Rectangle]
) -> None:
    """Write a label above its box, else below or inside, where it hides no other label."""
    (text_width, text_height), descent = cv2.getTextSize(label, _FONT, _LABEL_SCALE, 1)
    width, height = text_width + 2 * _PADDING, text_height + descent + _PADDING
    x1, y1, _, y2 = box
    left = int(np.clip(x1 - 1, 0, max(0, frame.shape[1] - width)))
    lowest = max(0, frame.shape[0] - height)
    tops = [int(np.clip(top, 0, lowest)) for top in (y1 - height, y2, y1, y2 - height)]
    places = [_Rectangle(left, top, left + width, top + height) for top in tops]
    place = next(
        (each for each in places if not any(each.overlaps(other) for other in taken)), places[0]
    )
    taken.append(place)
    cv2.rectangle(frame, (place.left, place.top), (place.right, place.bottom), colour, cv2.FILLED)
    baseline = (place.left + _PADDING, place.bottom - descent)
    ink = (0, 0, 0) if _luminance(colour) > 110 else (255, 255, 255)
    cv2.putText(frame, label, baseline, _FONT, _LABEL_SCALE, ink, 1, cv2.LINE_AA)


def _luminance(colour: _Colour) -> float:
    """Perceived brightness, 0 to 255 (ITU-R BT.601)."""
    blue, green, red = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _title_bar(title: str) -> _Image:
    bar = np.full((_TITLE_HEIGHT, _TILE_WIDTH, 3), _PAPER, np.uint8)
    shown = title
    while len(shown) > 1 and _title_width(shown) > _TILE_WIDTH - 2 * _PADDING:
        shown = f"...{shown[4:]}"  # the end of a path says more than its beginning
    origin = (_PADDING, _TITLE_HEIGHT - 8)
    cv2.putText(bar, shown, origin, _FONT, _TITLE_SCALE, _INK, 1, cv2.LINE_AA)
    return bar


def _title_width(title: str) -> int:
    (width, _), _ = cv2.getTextSize(title, _FONT, _TITLE_SCALE, 1)
    return int(width)


def _side_by_side(tiles: Sequence[_Image]) -> _Image:
    height = max(tile.shape[0] for tile in tiles)
    return np.concatenate(
        [_padded(tile, height, _TILE_WIDTH + _GAP, left=_GAP) for tile in tiles], axis=1
    )


def _padded(image: _Image, height: int, width: int, *, top: int = 0, left: int = 0) -> _Image:
    paper = np.full((height, width, 3), _PAPER, np.uint8)
    paper[top : top + image.shape[0], left : left + image.shape[1]] = image
    return paper
