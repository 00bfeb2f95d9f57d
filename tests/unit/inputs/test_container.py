from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.inputs.container import inspect
from support.clips import hide_frames, index_first, truncate, write_clip


@pytest.mark.parametrize(
    ("name", "codec", "kind", "samples"),
    [
        ("a.mp4", "mp4v", "iso", 30),
        ("a.mov", "mpg2", "iso", 30),
        ("a.avi", "MJPG", "riff", 0),
        ("a.mkv", "VP80", "matroska", 0),
        ("a.ts", "mpg2", "other", 0),
    ],
)
def test_a_healthy_file_is_as_long_as_it_says(tmp_path, name, codec, kind, samples):
    found = inspect(write_clip(tmp_path / name, 30, codec))
    assert (found.kind, found.samples, found.truncated) == (kind, samples, False)
    assert not found.hides_frames
    assert found.declared_size == (None if kind == "other" else found.size)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "VP80")]
)
def test_a_cut_off_file_is_truncated(tmp_path, name, codec):
    path = write_clip(tmp_path / name, 30, codec)
    whole = path.stat().st_size
    found = inspect(truncate(path))
    assert found.truncated
    assert found.size < found.declared_size <= whole


def test_a_cut_off_file_with_its_index_in_front_still_counts_its_samples(tmp_path):
    found = inspect(truncate(index_first(write_clip(tmp_path / "a.mp4", 30))))
    assert (found.samples, found.truncated) == (30, True)


@pytest.mark.parametrize(("before", "behind"), [(1, 0), (0, 1), (7, 5)])
def test_frames_hidden_by_an_edit_list_are_noticed(tmp_path, before, behind):
    assert inspect(hide_frames(write_clip(tmp_path / "a.mp4", 30), before, behind)).hides_frames


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "other"),
        (b"Read me\nbefore use\n", "text"),
        ("Größe: 3 m".encode(), "text"),
        (b"#EXTM3U\n#EXTINF:6,\na.ts\n", "playlist"),
        (b"ffconcat version 1.0\nfile 'a.mp4'\n", "playlist"),
        (b"\x00\x00\x00\x01\x67\x42", "other"),
        (b"YUV4MPEG2 W320 H192 F25:1\nFRAME\nZZZZ", "other"),
    ],
)
def test_what_is_no_container_is_told_apart(tmp_path, content, kind):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert inspect(path).kind == kind


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_noise_in_the_index_is_never_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("noise")
    content = bytearray(_healthy(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "a.mp4"
    path.write_bytes(content[data.draw(st.integers(0, 40)) :])
    inspect(path)


def _healthy(tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "healthy.mp4"
    if not path.exists():
        index_first(write_clip(path, 4))
    return path.read_bytes()
