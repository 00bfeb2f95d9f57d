from __future__ import annotations

import numpy as np
import psutil

from carpool.vision.tracking import ByteTrack, ByteTrackParameters

_OBJECTS = 50
_LIFE = 8
_FRAMES = 20_000


def _frame(number: int) -> np.ndarray:
    """A box in each of fifty places; every few frames a new one, elsewhere in its place."""
    place = np.arange(_OBJECTS)
    generation = (number + place) // _LIFE
    x = 200.0 * (place // 10) + 45.0 * (generation % 4)
    y = 100.0 * (place % 10)
    rows = np.stack((x, y, x + 40, y + 40, 0.75 + place / 1000, generation), axis=1)
    return rows.astype(np.float32)


def test_a_million_rows_and_a_hundred_thousand_tracks_leave_nothing_behind():
    tracker = ByteTrack(ByteTrackParameters(lost_track_buffer=4))
    for number in range(500):
        tracker.update(_frame(number))
    process = psutil.Process()
    before = process.memory_info().rss
    highest = most = 0
    for number in range(500, 500 + _FRAMES):
        highest = max(highest, int(tracker.update(_frame(number)).max()))
        most = max(most, len(tracker))
    growth = process.memory_info().rss - before
    assert highest > 100_000
    # Each place holds what is there now and at most one that was there in the last four frames.
    assert most <= 2 * _OBJECTS
    # The state of the tracks that ended would be 15 MB.
    assert growth < 4_000_000
