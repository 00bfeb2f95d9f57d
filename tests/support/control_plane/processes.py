"""Ports, folders and processes of a control plane, none of which outlives the test process.

A test process can be killed with -9, so nothing depends on its cleaning up: the kernel kills its
children (PR_SET_PDEATHSIG), and a folder left behind is removed by the next start. The kernel tells
children when the *thread* that started them ends, so start them from the main thread.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from carpool.host.process import die_with

_PREFIX = "carpool-control-plane-"
_LOCK = "lock"
LOOPBACK = "127.0.0.1"


class ProcessEnded(Exception):
    """A process of the control plane ended by itself; the message has the end of its log."""


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port of the loopback address, kept from others while the context lasts.

    The socket is bound and never listens; a server that sets SO_REUSEPORT binds beside it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind((LOOPBACK, 0))
        yield keeper.getsockname()[1]


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for one control plane, removed at the end; removes those of killed owners too."""
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{_PREFIX}*/{_LOCK}"):
        _remove_if_orphaned(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_orphaned(path: Path) -> None:
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
    except OSError:
        return  # another start removes it, it is another user's, or its owner lives


class Process:
    """One program of the control plane, with its log."""

    def __init__(self, program: Path, arguments: dict[str, str], folder: Path) -> None:
        """Start it.

        Args:
            program: path of the executable.
            arguments: options by name, without the leading hyphens.
            folder: where it runs, and where its log NAME.log lies.
        """
        self.name = program.name
        self.log = folder / f"{self.name}.log"
        options = [f"--{name}={value}" for name, value in arguments.items()]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the owner, who ends them in order.
                process_group=0,
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - from the main thread
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise where the process has ended.

        Raises:
            ProcessEnded: it has.
        """
        code = self._process.poll()
        if code is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise ProcessEnded(f"{self.name} ended with {code}; the end of its log:\n{tail}")

    def kill(self) -> None:
        """End it at once: its store is thrown away, so there is nothing to put in order."""
        self._process.kill()
        self._process.wait()
