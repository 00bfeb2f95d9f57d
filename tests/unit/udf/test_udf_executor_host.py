"""Folders of executors: private, short enough for a socket, removed when nobody needs them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from pyspark import cloudpickle

from carpool.errors import HostStartFailed
from carpool.host.launch import wait_for_end
from carpool.host.supervisor import lock_file
from carpool.udf.executor_host import (
    ExecutorHost,
    _executor_key,
    _parent,
    _remove_abandoned,
    private_root,
)
from carpool.udf.spec import FunctionSpec, ReturnType
from support.host_process import PATIENCE


@pytest.fixture
def temporary(monkeypatch, tmp_path_factory):
    with tempfile.TemporaryDirectory(prefix="cpu") as folder:  # pytest's own are too long
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def spec(**changes) -> FunctionSpec:
    fields = {
        "function_id": "0" * 32,
        "name": "make",
        "pickled": b"",
        "return_type": ReturnType("scalar", {}),
        "batch_size": 8,
        "input_tensor_shapes": None,
        "idle_seconds": 1.0,
        "tasks": 2,
        "threads": 1,
    }
    return FunctionSpec(**{**fields, **changes})


def test_the_folder_is_the_users_alone(temporary):
    root = private_root()
    assert root.parent == temporary
    assert root.stat().st_mode & 0o777 == 0o700
    assert private_root() == root


def test_a_folder_that_others_can_enter_is_refused(temporary):
    private_root().chmod(0o755)
    with pytest.raises(HostStartFailed, match=r"mode 0700; .* mode 0755"):
        private_root()


def test_a_link_that_someone_put_there_is_refused(temporary):
    (temporary / f"carpool-udf-{os.getuid()}").symlink_to(temporary)
    with pytest.raises(HostStartFailed, match="must be a folder"):
        private_root()


def test_a_temporary_folder_with_a_long_name_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    assert private_root().parent == Path("/tmp")  # noqa: S108 - what is tested


def test_executors_are_told_apart_by_the_folders_that_spark_gives_them(monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/scratch/blockmgr-1")
    one = _executor_key()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/scratch/blockmgr-2")
    other = _executor_key()
    monkeypatch.delenv("SPARK_LOCAL_DIRS")
    third = _executor_key()
    assert len({one, other, third}) == 3
    assert _executor_key() == third


def test_functions_and_only_they_make_a_difference_to_the_key(temporary):
    one, same = ExecutorHost(spec()), ExecutorHost(spec(pickled=b"not looked at"))
    other = ExecutorHost(spec(function_id="1" * 32))
    assert one.model_key == same.model_key != other.model_key
    assert one.directory.parent == other.directory.parent


def test_a_long_schema_is_left_in_a_file(temporary):
    host = ExecutorHost(spec())
    host.directory.mkdir(mode=0o700)
    assert host.schema_name("short") == "short"
    name = host.schema_name("x" * 5000)
    assert len(name) < 100
    assert (host.directory / name).read_text() == "x" * 5000


def test_folders_of_executors_that_are_gone_are_removed_and_others_kept(temporary):
    root = private_root()
    gone, alive, young, mine = (root / name for name in ("gone", "alive", "young", "mine"))
    for folder in (gone, alive, young, mine):
        (folder / "function").mkdir(parents=True)
        (folder / "function" / "host.sock.lock").touch()
        if folder != young:
            os.utime(folder, (0, 0))
    with (alive / "function" / "host.sock.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_abandoned(root, keep=mine)
    assert sorted(path.name for path in root.iterdir()) == ["alive", "mine", "young"]


def test_the_owner_is_this_process_s_parent():
    descriptor = _parent()
    try:
        fields = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split()
        assert int(fields[fields.index("Pid:") + 1]) == os.getppid()
    finally:
        os.close(descriptor)


def test_a_folder_that_was_removed_meanwhile_is_made_again(temporary):
    host = ExecutorHost(spec(pickled=cloudpickle.dumps(lambda: abs)))
    shutil.rmtree(host.directory.parent)
    try:
        assert host.ensure().exists()
    finally:
        lock = lock_file(host.directory / "host.sock")
        supervisor = _holder(lock)
        os.kill(supervisor, signal.SIGTERM)
        assert wait_for_end(host.directory, PATIENCE)


def _holder(lock: Path) -> int:
    """The process that holds a file's lock (proc(5), locks)."""
    number = str(lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == number:
            return int(fields[4])
    raise AssertionError(f"nobody holds {lock}")
