from __future__ import annotations

import io
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import fs

from carpool.errors import InputUnavailable
from carpool.inputs import staging
from carpool.inputs.filesystem import StorageOptions, expand
from carpool.inputs.staging import UNUSED_COPIES, local_copy, private_copy
from support.s3 import flaky_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = StorageOptions()
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def server(monkeypatch) -> Iterator:
    with flaky_s3(monkeypatch) as running:
        yield running


def remote_file(server, source, key="a.mp4"):
    return expand([server.put(key, source)], server.storage)[0]


def copies_in(scratch):
    folder = scratch / "inputs"
    return sorted(path.name for path in folder.glob("*") if path.suffix != ".lock")


def test_a_local_file_is_used_where_it_lies(source, scratch):
    (file,) = expand([str(source)], LOCAL)
    with local_copy(file, LOCAL, scratch) as path:
        assert path == source
    assert not scratch.exists()


def test_a_private_copy_of_a_local_file_is_read_whole_and_removed(source, scratch):
    (file,) = expand([str(source)], LOCAL)
    with private_copy(file, LOCAL, scratch) as path:
        assert path != source
        assert path.suffix == ".mp4"
        assert path.read_bytes() == CONTENT
    assert list((scratch / "private").iterdir()) == []


@pytest.mark.parametrize("copy", [local_copy, private_copy])
def test_a_file_that_vanished_is_unavailable(source, scratch, copy):
    (file,) = expand([str(source)], LOCAL)
    source.unlink()
    with pytest.raises(InputUnavailable, match=r"a\.mp4"), copy(file, LOCAL, scratch):
        pass


@pytest.mark.parametrize("copy", [local_copy, private_copy])
@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"more"])
def test_a_file_that_grew_or_shrank_is_unavailable(source, scratch, copy, content):
    (file,) = expand([str(source)], LOCAL)
    source.write_bytes(content)
    with pytest.raises(InputUnavailable, match="has changed"), copy(file, LOCAL, scratch):
        pass
    assert list(scratch.rglob("*.mp4")) == []


def test_a_file_rewritten_at_the_same_size_is_unavailable(source, scratch):
    (file,) = expand([str(source)], LOCAL)
    os.utime(source, ns=(0, file.modified_ns + 1))
    with pytest.raises(InputUnavailable, match="has changed"), local_copy(file, LOCAL, scratch):
        pass


def test_a_remote_file_is_downloaded_once(server, source, scratch):
    file = remote_file(server, source)
    with local_copy(file, server.storage, scratch) as path:
        assert path.read_bytes() == CONTENT
    reads = server.object_reads
    with local_copy(file, server.storage, scratch) as again:
        assert again == path
    assert server.object_reads == reads > 0


def test_tasks_that_want_a_file_at_once_share_one_download(server, source, scratch):
    file = remote_file(server, source)
    with local_copy(file, server.storage, scratch):
        reads = server.object_reads
    for path in (scratch / "inputs").iterdir():
        path.unlink()
    server.object_reads = 0
    seen = []
    all_inside = threading.Barrier(4)

    def task():
        with local_copy(file, server.storage, scratch) as path:
            seen.append(path.read_bytes() == CONTENT)
            all_inside.wait(timeout=30)  # breaks if users of a copy exclude one another

    threads = [threading.Thread(target=task) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4
    assert server.object_reads == reads


def test_copies_in_use_stay_and_others_are_removed(server, source, scratch):
    files = [remote_file(server, source, f"{number}.mp4") for number in range(6)]
    with ExitStack() as in_use:
        kept = [
            in_use.enter_context(local_copy(file, server.storage, scratch)) for file in files[:2]
        ]
        for file in files[2:]:
            with local_copy(file, server.storage, scratch):
                pass
        assert all(path.read_bytes() == CONTENT for path in kept)
        assert len(copies_in(scratch)) <= 2 + UNUSED_COPIES + 1


def test_what_a_killed_download_left_is_removed(server, source, scratch):
    (scratch / "inputs").mkdir(parents=True)
    (scratch / "inputs" / "part-0123.mp4").write_bytes(b"half")
    with local_copy(remote_file(server, source), server.storage, scratch) as path:
        assert copies_in(scratch) == [path.name]


@pytest.mark.parametrize(("fault", "copy"), [("error", local_copy), ("cut", private_copy)])
def test_storage_that_fails_is_unavailable_until_it_recovers(server, source, scratch, fault, copy):
    file = remote_file(server, source)
    server.fault = fault
    for _ in range(2):
        with pytest.raises(InputUnavailable, match=r"a\.mp4"), copy(file, server.storage, scratch):
            pass
        assert list(scratch.rglob("*.mp4")) == []
    server.fault = None
    with copy(file, server.storage, scratch) as path:
        assert path.read_bytes() == CONTENT


class BreakingStream(io.BytesIO):
    """Gives the first bytes of a file, then fails."""

    def read(self, size=-1):
        if self.tell() >= 1000:
            raise OSError(5, "Input/output error")
        return super().read(min(size, 1000))


class BreakingHandler(fs.FileSystemHandler):
    """A storage that knows one file and breaks in the middle of it."""

    def __init__(self, file):
        self.file = file

    def get_type_name(self):
        return "breaking"

    def open_input_stream(self, path):
        return pa.PythonFile(BreakingStream(CONTENT), mode="r")

    open_input_file = open_input_stream

    def get_file_info(self, paths):
        return [
            fs.FileInfo(path, fs.FileType.File, size=self.file.size, mtime_ns=self.file.modified_ns)
            for path in paths
        ]

    def normalize_path(self, path):
        return path

    def _refuse(self, *_):
        raise OSError("this storage is read-only")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse


def test_a_read_error_in_the_middle_is_unavailable(source, scratch, monkeypatch):
    (file,) = expand([str(source)], LOCAL)
    breaking = fs.PyFileSystem(BreakingHandler(file))
    monkeypatch.setattr(staging, "resolve", lambda _uri, _storage: (breaking, "a.mp4"))
    with (
        pytest.raises(InputUnavailable, match="failed after 1000 of 102400 bytes"),
        private_copy(file, LOCAL, scratch),
    ):
        pass
    assert list(scratch.rglob("*.mp4")) == []


def test_an_error_of_the_user_passes_through_and_frees_the_copy(server, source, scratch):
    file = remote_file(server, source)
    with pytest.raises(ZeroDivisionError), local_copy(file, server.storage, scratch):
        raise ZeroDivisionError
    with local_copy(file, server.storage, scratch) as path:
        assert path.exists()
