"""One host per machine without Kubernetes: the first task starts it, the others find it.

The driver chooses a run directory, writes `host.json` there and holds the leash; every Spark task
calls `ensure_host`. The host belongs to no task: it runs in a session of its own, lives through the
death of whichever worker started it, and ends with the driver, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from carpool.errors import HostStartFailed, HostTimeout
from carpool.host.process import check_socket_path, host_environment
from carpool.host.supervisor import lock_file
from carpool.host.termination import find_message

CONFIG_NAME = "host.json"
SOCKET_NAME = "host.sock"
LEASH_NAME = "leash.sock"
LOG_NAME = "host.log"
_LOCK_NAME = "launch.lock"
_POLL_SECONDS = 0.02
"""flock(2) knows no timeout, so locks are tried again so often."""


class Leash:
    """Held by the driver: hosts of the run directory end when it is closed or its process dies.

    The hosts connect and read until end of file, so no process has to notice anything and no
    process id is ever compared.
    """

    def __init__(self, run_directory: Path) -> None:
        """Open the leash; must be done before the first task asks for a host.

        Raises:
            HostStartFailed: the directory's path is too long for a Unix socket.
        """
        self._path = check_socket_path(run_directory / LEASH_NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        # Nobody accepts: a host's connection waits in the backlog and ends with it.
        self._socket.listen(128)

    def close(self) -> None:
        """Let the hosts end."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def ensure_host(run_directory: Path, *, owner: int | None = None, timeout: float = 60.0) -> Path:
    """Give the socket of this machine's host, starting the host if there is none.

    Any number of processes may call it at once. A host that was killed is started again by the next
    caller; one that said it cannot work is not.

    Args:
        run_directory: holds `host.json`, and the driver's leash where there is no owner.
        owner: descriptor that becomes readable when the process ends with which a host that is
            started here is to end (pidfd_open(2)).
        timeout: seconds until the host must listen; loading the model may take longer.

    Raises:
        HostStartFailed: the host said why it cannot work, or did not even come up.
        HostTimeout: it does not listen in time.
    """
    socket_path = check_socket_path(run_directory / SOCKET_NAME)
    deadline = time.monotonic() + timeout
    with _locked(run_directory / _LOCK_NAME, deadline):
        if not listens(socket_path):
            if message := find_message(socket_path):
                raise message.error()
            _start(run_directory, socket_path, deadline, owner)
    return socket_path


def wait_for_end(run_directory: Path, timeout: float) -> bool:
    """Wait until no process of the run directory's host is left.

    Args:
        run_directory: as for `ensure_host`.
        timeout: seconds.

    Returns:
        Whether it has ended.
    """
    path = lock_file(run_directory / SOCKET_NAME)
    try:
        with _locked(path, time.monotonic() + timeout, create=False):
            return True
    except FileNotFoundError:
        return True
    except HostTimeout:
        return False


def listens(socket_path: Path) -> bool:
    """Whether a host accepts connections there."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with probe:
        try:
            probe.connect(str(socket_path))
        except (FileNotFoundError, ConnectionError):
            return False
    return True


def _start(run_directory: Path, socket_path: Path, deadline: float, owner: int | None) -> None:
    log = run_directory / LOG_NAME
    read, write = os.pipe2(os.O_CLOEXEC)
    leash = ("--leash", str(run_directory / LEASH_NAME))
    command = [
        *(sys.executable, "-P", "-m", "carpool.host"),
        *("--config", str(run_directory / CONFIG_NAME)),
        *("--socket", str(socket_path)),
        *(leash if owner is None else ("--owner-fd", str(owner))),
        *("--listening-fd", str(write)),
    ]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited() if descriptor != owner),
    ]
    os.set_inheritable(write, True)
    if owner is not None:
        os.set_inheritable(owner, True)
    # A session of its own: Spark ends its workers' process group, and so does Ctrl-C.
    pid = os.posix_spawn(
        command[0], command, host_environment(os.environ), file_actions=actions, setsid=True
    )
    os.close(write)
    try:
        if not select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise HostTimeout(f"the model host does not listen in time; see {log}")
        listening = os.read(read, 1)
    finally:
        os.close(read)
    if not listening:
        os.waitpid(pid, 0)
        if message := find_message(socket_path):
            raise message.error()
        raise HostStartFailed(f"the model host ended before it could listen: {_tail(log)}")


def _inherited() -> list[int]:
    """Descriptors that a started process would inherit and a host must not hold open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own descriptor is closed by now
            if int(entry.name) > 2 and os.get_inheritable(int(entry.name)):
                found.append(int(entry.name))
    return found


def _tail(log: Path, size: int = 1000) -> str:
    try:
        return log.read_bytes()[-size:].decode("utf-8", "replace").strip()
    except OSError as error:
        return f"no log: {error}"


@contextmanager
def _locked(path: Path, deadline: float, *, create: bool = True) -> Iterator[None]:
    """Hold a file's lock.

    Raises:
        HostTimeout: another process holds it until the deadline.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    descriptor = os.open(path, flags, 0o660)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise HostTimeout(f"{path} is locked by another process") from None
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
