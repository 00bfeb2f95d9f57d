"""Where the tasks of an executor find, or start, the host of a predict function.

Nothing is set up by the driver. A folder of the user's own in the system's temporary folder has one
folder per executor, and in it one per function: there the executor's first task starts the host,
the others find it. What must stay true: only this user can enter these folders, since who writes
there has the host run it; a host ends with its executor, by the kernel's word (a pidfd of Spark's
Python daemon), not by anyone's clean-up; folders whose host is gone are removed by later tasks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from carpool.errors import HostError, HostStartFailed
from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, SOCKET_NAME, ensure_host
from carpool.host.process import MOST_SOCKET_BYTES
from carpool.host.supervisor import lock_file
from carpool.host.termination import failure_file
from carpool.udf.handler import SCHEMA_MARK, host_parameters
from carpool.udf.spec import FunctionSpec

FUNCTION_NAME = "function.pkl"
_PREFIX = "carpool-udf"
_EXECUTOR_VARIABLE = "SPARK_LOCAL_DIRS"
"""Spark sets it in every Python worker to the executor's own block manager folders."""
_FAILURE_SECONDS = 60.0
"""What failed is not tried again for so long: the attempts of a task fail at once."""
_ABANDONED_SECONDS = 3600.0
_LONGEST_BATCH = 3600.0
"""Seconds. Nobody has measured this function: it may well take minutes for a batch."""
_LONGEST_SCHEMA = 2048
"""Characters; a message holds 4096 bytes."""
_REQUEST_ITEMS = (64, 4096)
"""Least and most rows of a request; between them a request is a batch."""


class ExecutorHost:
    """The host of one function on this executor.

    Attributes:
        directory: with its configuration, socket and log.
        model_key: what its clients must name.
    """

    def __init__(self, spec: FunctionSpec) -> None:
        """Find the place; nothing is started.

        Raises:
            HostStartFailed: the folders are not this user's alone.
        """
        root = private_root()
        self._root = root
        executor = _private(root / _executor_key())
        self.directory = executor / spec.function_id[:16]
        self._spec = spec
        self._config = self._configuration()
        self.model_key = self._config.model_key

    def ensure(self) -> Path:
        """Give the socket of the host, starting the host if there is none.

        Raises:
            HostStartFailed: the host has said why it cannot work.
            HostError: the executor's Python daemon has ended, or as `ensure_host`.
        """
        if not (self.directory / CONFIG_NAME).exists():
            _remove_abandoned(self._root, keep=self.directory.parent)
            _private(self.directory.parent)  # removed, if this executor has rested for long
            _private(self.directory)
            _write(self.directory / FUNCTION_NAME, self._spec.pickled)
            self._config.write(self.directory / CONFIG_NAME)
        _forget_old_failure(self.directory / SOCKET_NAME)
        owner = _parent()
        try:
            return ensure_host(self.directory, owner=owner)
        finally:
            os.close(owner)

    def schema_name(self, schema: str) -> str:
        """What clients say in HELLO: the schema, or the name of a file that holds a long one."""
        if len(schema) <= _LONGEST_SCHEMA:
            return schema
        name = f"{SCHEMA_MARK}{hashlib.sha256(schema.encode()).hexdigest()[:32]}"
        if not (self.directory / name).exists():
            _write(self.directory / name, schema.encode())
        return name

    def _configuration(self) -> HostConfig:
        spec = self._spec
        tasks = spec.tasks or len(os.sched_getaffinity(0))
        least, most = _REQUEST_ITEMS
        return HostConfig(
            handler="carpool.udf.handler:PredictFunction",
            parameters=host_parameters(
                self.directory / FUNCTION_NAME,
                spec.name,
                spec.return_type,
                spec.input_tensor_shapes,
            ),
            backend="records",
            max_batch=spec.batch_size,
            threads=spec.threads,
            expected_clients=tasks,
            request_items=max(least, min(spec.batch_size, most)),
            idle_seconds=spec.idle_seconds,
            watchdog_seconds=_LONGEST_BATCH,
            # What the worker can import (Spark's --py-files among it), the function can.
            python_path=tuple(entry for entry in sys.path if entry),
        )


def private_root() -> Path:
    """This user's folder for all executors.

    Raises:
        HostStartFailed: it belongs to someone else, or is no folder.
    """
    name = f"{_PREFIX}-{os.getuid()}"
    root = Path(tempfile.gettempdir()) / name
    longest = root / ("0" * 16) / ("0" * 16) / SOCKET_NAME
    if len(os.fsencode(longest)) > MOST_SOCKET_BYTES:
        root = Path("/tmp") / name  # noqa: S108 - made private, and checked to be
    return _private(root)


def _private(path: Path) -> Path:
    """Make a folder that only this user can enter, or see to it that it is one."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise HostStartFailed(
            f"{path} must be a folder of user {os.getuid()} with mode 0700; it is of user "
            f"{found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}: remove it, or set TMPDIR"
        )
    return path


def _executor_key() -> str:
    """Identifies the executor among all of this machine, of any application."""
    place = os.environ.get(_EXECUTOR_VARIABLE)
    if not place:
        # Spark's Python daemon, by process id and start time (proc(5), field 22).
        parent = os.getppid()
        fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
        place = f"{parent} {fields[19]}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _parent() -> int:
    """A pidfd of this worker's parent: Spark's Python daemon, which ends with the executor.

    While it is our parent its process id cannot be another's, so asking again after opening proves
    that the right process was opened.
    """
    parent = os.getppid()
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        descriptor = None
    if descriptor is None or os.getppid() != parent:
        if descriptor is not None:
            os.close(descriptor)
        raise HostError("this worker's executor has ended")
    return descriptor


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def _forget_old_failure(socket_path: Path) -> None:
    """What kept a host from starting a while ago may have passed."""
    path = failure_file(socket_path)
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > _FAILURE_SECONDS:
            path.unlink()


def _remove_abandoned(root: Path, keep: Path) -> None:
    """Remove the folders of executors that are gone: old, and no host holds its lock."""
    for executor in root.iterdir():
        with suppress(OSError):
            old = time.time() - executor.stat().st_mtime > _ABANDONED_SECONDS
            if old and executor != keep and not any(map(_is_alive, executor.iterdir())):
                shutil.rmtree(executor, ignore_errors=True)


def _is_alive(directory: Path) -> bool:
    try:
        descriptor = os.open(lock_file(directory / SOCKET_NAME), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
