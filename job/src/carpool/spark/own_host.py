"""`sharing: PerTask`: which host a task speaks to where each task has one of its own.

There are as many hosts as tasks run at once, each in a folder of its own. A Python worker runs one
task at a time, so a worker claims a folder with its first task and keeps it for as long as it
lives; however it ends, the kernel takes the claim back and the next worker finds the host with its
model loaded. What must stay true: no host is ever claimed by two processes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from carpool.errors import HostTimeout

CLAIM_NAME = "client.lock"
_POLL_SECONDS = 0.02
"""flock(2) knows no timeout, so claims are tried again so often."""

_CLAIMS: dict[tuple[Path, ...], tuple[Path, int]] = {}
"""What this process has claimed: the folder, and the descriptor that holds its lock."""


def claim_host(directories: Sequence[Path], timeout: float) -> Path:
    """Give the folder of this process's own host, claiming one of them the first time.

    Args:
        directories: of the machine's hosts, as many as there are tasks at once.
        timeout: seconds to wait for a claim; a worker that Spark ends may still hold one, and an
            idle one is ended by Spark after a minute.

    Raises:
        HostTimeout: other processes hold all of them until then.
    """
    key = tuple(directories)
    deadline = time.monotonic() + timeout
    while key not in _CLAIMS:
        for directory in key:
            descriptor = _try_lock(directory / CLAIM_NAME)
            if descriptor is not None:
                _CLAIMS[key] = (directory, descriptor)
                break
        else:
            if time.monotonic() >= deadline:
                raise HostTimeout(f"each of {len(key)} model hosts is claimed by another worker")
            time.sleep(_POLL_SECONDS)
    return _CLAIMS[key][0]


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _disown() -> None:
    """A forked process claims for itself; closing its copies leaves the parent's claims alone."""
    for _, descriptor in _CLAIMS.values():
        os.close(descriptor)
    _CLAIMS.clear()


os.register_at_fork(after_in_child=_disown)
