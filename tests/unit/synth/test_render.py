from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from carpool.errors import OutputUnavailable
from carpool.synth.barcode import read_barcode
from carpool.synth.render import render_video
from carpool.synth.scene import Scene
from carpool.synth.settings import SceneSettings
from carpool.synth.truth import SCHEMA

SETTINGS = SceneSettings(seed=5, frames=100, width=320, height=180)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return render_video(SETTINGS, tmp_path_factory.mktemp("clips"), "clip")


def decoded(path):
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (given := reader.read())[0]:
        frames.append(given[1])
    reader.release()
    return frames


def packets(path):
    """Presentation time in ms and whether it is a keyframe, of each packet."""
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    found = []
    while reader.read()[0]:
        keyframe = bool(reader.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
        found.append((reader.get(cv2.CAP_PROP_POS_MSEC), keyframe))
    reader.release()
    return found


def test_every_frame_number_survives_the_codec(rendered):
    numbers = [read_barcode(image) for image in decoded(rendered.video)]
    assert numbers == list(range(SETTINGS.frames))


def test_frame_numbers_survive_strong_compression():
    scene = Scene(SETTINGS)
    for index in (0, 37, 99):
        _, coded = cv2.imencode(".jpg", scene.frame(index)[0], [cv2.IMWRITE_JPEG_QUALITY, 20])
        assert read_barcode(cv2.imdecode(coded, cv2.IMREAD_COLOR)) == index


def test_keyframes_come_twice_a_second_and_times_are_those_of_the_truth(rendered):
    found = packets(rendered.video)
    assert [round(ms * 1e6) for ms, _ in found] == [
        SETTINGS.pts_ns(index) for index in range(SETTINGS.frames)
    ]
    keyframes = [index for index, (_, keyframe) in enumerate(found) if keyframe]
    assert keyframes[0] == 0
    assert max(np.diff(keyframes)) <= SETTINGS.fps // 2


def test_the_picture_survives_the_codec(rendered):
    image = Scene(SETTINGS).frame(42)[0].astype(int)
    assert np.abs(decoded(rendered.video)[42].astype(int) - image).mean() < 7


def test_the_truth_is_what_the_scene_says(rendered):
    table = pq.read_table(rendered.truth)
    assert table.schema.equals(SCHEMA)
    scene = Scene(SETTINGS)
    expected = [
        (index, SETTINGS.pts_ns(index), box.track_id, box.class_id, box.x1, box.y2)
        for index in range(SETTINGS.frames)
        for box in scene.frame(index)[1]
    ]
    columns = ("frame_index", "pts_ns", "track_id", "class_id", "x1", "y2")
    assert list(zip(*(table[name].to_pylist() for name in columns), strict=True)) == expected
    assert set(table["video"].to_pylist()) == {"clip.mp4"}


def test_mot_and_parquet_agree(rendered):
    rows = pq.read_table(rendered.truth).to_pylist()
    lines = [line.split(",") for line in rendered.mot.read_text().splitlines()]
    assert len(lines) == len(rows) > 0
    for row, line in zip(rows, lines, strict=True):
        frame, track, left, top, width, height, confidence, kind, visibility = map(float, line)
        assert (frame, track) == (row["frame_index"] + 1, row["track_id"])
        assert (left, top) == (row["x1"], row["y1"])
        assert (left + width, top + height) == (row["x2"], row["y2"])
        assert (confidence, kind) == (1, row["class_id"] + 1)
        assert visibility == pytest.approx(row["visibility"], abs=1e-4)


def test_rendering_again_gives_the_same_bytes(rendered, tmp_path):
    again = render_video(SETTINGS, tmp_path, "clip")
    for name in ("truth", "mot", "video"):
        assert getattr(again, name).read_bytes() == getattr(rendered, name).read_bytes(), name


def test_an_interrupted_render_leaves_nothing_behind(tmp_path, monkeypatch):
    whole = Scene.frame

    def interrupted(scene, index):
        if index == 3:
            raise KeyboardInterrupt
        return whole(scene, index)

    monkeypatch.setattr(Scene, "frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_video(replace(SETTINGS, frames=8), tmp_path, "clip")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(tmp_path.glob(".render-*")) == []


def test_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputUnavailable, match=r"clip\.mp4"):
        render_video(replace(SETTINGS, frames=2), tmp_path / "file", "clip")


def test_notices_frames_that_never_reached_the_disk(tmp_path, monkeypatch):
    whole = cv2.VideoWriter

    class FullDisk:
        """Writes through to the real writer until the disk is full, then as silently as it."""

        fourcc = whole.fourcc

        def __init__(self, *arguments):
            self._writer, self._left = whole(*arguments), 5

        def write(self, image):
            self._left -= 1
            if self._left >= 0:
                self._writer.write(image)

        def __getattr__(self, name):
            return getattr(self._writer, name)

    monkeypatch.setattr(cv2, "VideoWriter", FullDisk)
    with pytest.raises(OutputUnavailable, match="5 of 8 frames"):
        render_video(replace(SETTINGS, frames=8), tmp_path, "clip")
    assert not list(tmp_path.glob("*.mp4"))
