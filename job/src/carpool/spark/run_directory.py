"""A folder for what a run on this machine needs besides its output: sockets, logs, copies.

It lies in the system's temporary folder because its sockets' paths are limited to 107 bytes. It
goes with the run; where the run was killed, the next one removes it. Of a run that failed, the logs
stay.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "carpool-"
_LOCK = "run.lock"


@dataclass(slots=True)
class RunDirectory:
    """A run's folder.

    Attributes:
        path: where it is.
        keep: whether its logs stay when the run ends.
    """

    path: Path
    keep: bool = False

    def has_logs(self) -> bool:
        """Whether the run came as far as starting something that writes logs."""
        return any(self.path.glob("*.log")) or any(self.path.glob("*/*.log"))


@contextmanager
def run_directory() -> Iterator[RunDirectory]:
    """Make a folder for a run and remove it at the end, all but the logs where they are kept."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    directory = RunDirectory(Path(tempfile.mkdtemp(prefix=_PREFIX)))
    lock = _lock(directory.path / _LOCK, os.O_CREAT)
    try:
        yield directory
    finally:
        if directory.keep:
            _remove_all_but_logs(directory.path)
        else:
            shutil.rmtree(directory.path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_all_but_logs(folder: Path) -> None:
    """Keep the logs of a folder and of the folders of hosts in it."""
    for entry in folder.iterdir():
        if entry.suffix == ".log":
            continue
        if any(entry.glob("*.log")):
            _remove_all_but_logs(entry)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()


def _remove_abandoned(temporary: Path) -> None:
    """Remove folders whose run was killed: their lock file is there and nobody holds it."""
    for path in temporary.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            lock = _lock(path, 0)
        except OSError:  # another user's, or just removed by another run
            continue
        if lock is not None:
            shutil.rmtree(path.parent, ignore_errors=True)
            os.close(lock)


def _lock(path: Path, flags: int) -> int | None:
    """A descriptor that holds the lock as long as it is open; None if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
