from __future__ import annotations

import pytest

from carpool.errors import BadInput, InputUnavailable, Undecodable
from carpool.inputs import proof
from carpool.inputs.filesystem import StorageOptions, expand
from carpool.inputs.proof import decode_unit, index_input
from carpool.inputs.staging import private_copy
from carpool.inputs.video_index import index_video
from carpool.plan.units import cut
from support.clips import collect, damage, index_first, shown_number, truncate, write_clip
from support.s3 import flaky_s3

LOCAL = StorageOptions()


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def copies(monkeypatch):
    """The files of which private copies were made."""
    made = []

    def counted(file, *arguments):
        made.append(file.path)
        return private_copy(file, *arguments)

    monkeypatch.setattr(proof, "private_copy", counted)
    return made


def planned(path, scratch):
    (file,) = expand([str(path)], LOCAL)
    index = index_input(file, storage=LOCAL, scratch=scratch)
    (frames,) = cut(index, 10**6)
    return file, frames


def test_a_healthy_file_is_read_where_it_lies(tmp_path, scratch, copies):
    file, frames = planned(write_clip(tmp_path / "a.mp4", 30), scratch)
    decoded = list(decode_unit(file, frames, storage=LOCAL, scratch=scratch))
    assert [shown_number(frame.image) for frame in decoded] == list(range(30))
    assert copies == []
    assert not scratch.exists()


def test_damage_is_proven_on_a_copy_and_each_good_frame_given_once(tmp_path, scratch, copies):
    file, frames = planned(damage(write_clip(tmp_path / "a.mp4", 60), count=800), scratch)
    copies.clear()
    given, error = collect(decode_unit(file, frames, storage=LOCAL, scratch=scratch))
    assert copies == ["a.mp4"]
    numbers = [frame.index for frame in given]
    assert numbers == sorted(set(numbers))
    assert (error.frames_given, error.frames_expected) == (len(given), 60)
    assert len(given) < 60
    assert file.uri in str(error)
    assert list((scratch / "private").iterdir()) == []


def test_what_only_failed_at_first_goes_on_from_the_copy(tmp_path, scratch, copies, monkeypatch):
    path = write_clip(tmp_path / "a.mkv", 60)
    file, frames = planned(path, scratch)
    short = tmp_path / "short.mkv"
    short.write_bytes(path.read_bytes())
    truncate(short)
    # A disk that ends the file early, once: the copy has it all.
    monkeypatch.setattr(proof, "local_copy", lambda *_: _Context(short))
    decoded = list(decode_unit(file, frames, storage=LOCAL, scratch=scratch))
    assert [shown_number(frame.image) for frame in decoded] == list(range(60))
    assert copies == ["a.mkv"]


class _Context:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize("content", [b"", b"some text\n", bytes(range(256)) * 9])
def test_what_is_no_video_is_proven_on_a_copy(tmp_path, scratch, copies, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    (file,) = expand([str(path)], LOCAL)
    with pytest.raises(Undecodable, match=file.uri):
        index_input(file, storage=LOCAL, scratch=scratch)
    assert copies == ["a.mp4"]


def test_a_truncated_file_is_indexed_from_a_copy(tmp_path, scratch, copies):
    path = truncate(index_first(write_clip(tmp_path / "a.mp4", 60)))
    file, frames = planned(path, scratch)
    assert len(frames) + frames.broken == 60
    assert copies == ["a.mp4"]
    given, error = collect(decode_unit(file, frames, storage=LOCAL, scratch=scratch))
    assert (len(given), error.frames_given, error.frames_expected) == (len(frames), len(frames), 60)
    assert copies == ["a.mp4"], "what the index lacks was proven when it was made"


def test_a_file_that_vanishes_or_changes_meanwhile_is_unavailable(tmp_path, scratch):
    path = write_clip(tmp_path / "a.mp4", 60)
    file, frames = planned(path, scratch)
    decoded = decode_unit(file, frames, storage=LOCAL, scratch=scratch)
    next(decoded)
    path.unlink()
    with pytest.raises(InputUnavailable):
        list(decoded)
    with pytest.raises(InputUnavailable):
        list(decode_unit(file, frames, storage=LOCAL, scratch=scratch))
    with pytest.raises(InputUnavailable):
        index_input(file, storage=LOCAL, scratch=scratch)


def test_storage_that_fails_never_makes_bad_input(tmp_path, scratch, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", 30)
    (frames,) = cut(index_video(path), 10**6)
    with flaky_s3(monkeypatch) as server:
        (file,) = expand([server.put("in/a.mp4", path)], server.storage)
        for fault in ["error", "cut"]:
            server.fault = fault
            with pytest.raises(InputUnavailable) as caught:
                list(decode_unit(file, frames, storage=server.storage, scratch=scratch))
            assert not isinstance(caught.value, BadInput)
        with pytest.raises(InputUnavailable):
            index_input(file, storage=server.storage, scratch=scratch)
        server.fault = None
        index = index_input(file, storage=server.storage, scratch=scratch)
        assert index.frames == 30
        decoded = list(decode_unit(file, frames, 7, storage=server.storage, scratch=scratch))
        assert [shown_number(frame.image) for frame in decoded] == [0, 7, 14, 21, 28]
    assert list((scratch / "private").iterdir()) == []
