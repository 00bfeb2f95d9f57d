"""The process that outlives the host's crashes: holds the socket, starts the child, knows the end.

It imports neither torch nor numpy and computes nothing, so it does not die of what the child dies
of. What must stay true: while it lives, a client can always connect (connections wait in the
backlog while no child lives); it ends within two seconds of SIGTERM or of its driver's end; nothing
it started outlives it; and if it ends because the host cannot work, it has left a message first.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from carpool.errors import CarpoolError, HostStartFailed
from carpool.host.child_process import ChildProcess
from carpool.host.config import HostConfig
from carpool.host.process import check_socket_path, child_environment, describe_end, lift_limits
from carpool.host.restarts import RestartPolicy
from carpool.host.termination import ExitCode, Termination, failure_file, leave_message

_LOG = logging.getLogger("carpool.host")
_LOCK_SECONDS = 5.0
"""A killed predecessor's child may need so long to be gone."""
_SILENCE = (2.0, 2.0)
"""A child whose event loop has not turned for twice the watchdog's time and two seconds is ended:
it is stuck where its own watchdog cannot run, in code that does not give Python's lock back."""
_BACKLOG = 4096
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def lock_file(socket_path: Path) -> Path:
    """Locked (flock) while the supervisor of this socket, or its child, lives."""
    return socket_path.with_name(f"{socket_path.name}.lock")


class Supervisor:
    """Runs children one after another until told to stop, or until there is no point."""

    def __init__(
        self,
        config_path: Path,
        socket_path: Path,
        leash: socket.socket | None,
        owner: int | None = None,
    ) -> None:
        """Take what is to be served; nothing is touched before `run`.

        Args:
            config_path: of the host's configuration.
            socket_path: to listen on.
            leash: connected to the driver; its end is the supervisor's.
            owner: descriptor that becomes readable when the owner's process ends (pidfd_open(2)).
        """
        self._owner = owner
        self._config_path = config_path
        self._socket_path = socket_path
        self._leash = leash
        self._host_id = uuid.uuid4().hex
        self._generation = 0
        self._without: set[str] = set()
        self._policy = RestartPolicy()
        self._selector = selectors.DefaultSelector()
        self._child: ChildProcess | None = None
        self._start_at: float | None = 0.0
        self._silence = float("inf")
        self._stopping = ""

    def run(self, lock: int, on_listening: int | None) -> None:
        """Serve until stopped.

        Args:
            lock: descriptor of the locked file; children inherit it.
            on_listening: descriptor that gets one byte when clients can connect.

        Raises:
            CarpoolError: the host cannot work.
        """
        config = HostConfig.read(self._config_path)
        if warning := lift_limits(config.device):
            _LOG.warning("%s", warning)
        environment = child_environment(os.environ, config)
        self._silence = _SILENCE[0] * config.watchdog_seconds + _SILENCE[1]
        signals = self._catch_signals()
        listener = _listen(self._socket_path)
        if (leash := self._leash) is not None:
            self._selector.register(leash, selectors.EVENT_READ, lambda: self._on_leash(leash))
        if (owner := self._owner) is not None:
            os.set_inheritable(owner, False)
            self._selector.register(owner, selectors.EVENT_READ, self._on_owner)
        if on_listening is not None:
            os.write(on_listening, b"1")
            os.close(on_listening)
        try:
            while not self._stopping:
                if self._start_at is not None and time.monotonic() >= self._start_at:
                    self._start(listener, lock, environment)
                self._check_life()
                for key, _ in self._selector.select(self._patience()):
                    key.data()
            _LOG.info("ends: %s", self._stopping)
        finally:
            self._end_child()
            signals.close()

    def _patience(self) -> float | None:
        due = [at for at in (self._start_at, self._silent_at()) if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _silent_at(self) -> float | None:
        """When the child will have been silent for too long; None before its first word."""
        if self._child is None or self._child.alive_at is None:
            return None
        return self._child.alive_at + self._silence

    def _check_life(self) -> None:
        """End a child that is stuck; its death is handled as any other."""
        silent_at = self._silent_at()
        if self._child is None or silent_at is None or time.monotonic() < silent_at:
            return
        _LOG.error("generation %d is stuck", self._generation)
        self._child.alive_at = None
        # At SIGABRT faulthandler writes to the log where each thread is.
        self._child.end(signal.SIGABRT)

    def _catch_signals(self) -> socket.socket:
        read, write = socket.socketpair()
        read.setblocking(False)
        write.setblocking(False)
        # Before the handlers: a signal that one of them swallowed would be lost.
        signal.set_wakeup_fd(write.fileno())
        # As process 1 of a container it would get no signal that it has no handler for.
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(
            read, selectors.EVENT_READ, lambda: self._on_signals(read.recv(256))
        )
        return write

    def _on_signals(self, numbers: bytes) -> None:
        for number in _STOP_SIGNALS:
            if number in numbers:
                self._stopping = number.name
        if signal.SIGCHLD in numbers:
            self._reap()

    def _on_leash(self, leash: socket.socket) -> None:
        try:
            if leash.recv(64):
                return
        except ConnectionError:
            pass
        self._stopping = "the driver has ended"

    def _on_owner(self) -> None:
        self._stopping = "its owner has ended"

    def _start(self, listener: socket.socket, lock: int, environment: dict[str, str]) -> None:
        self._start_at = None
        self._generation += 1
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        inherited = (listener.fileno(), write, lock)
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        command = [
            *(sys.executable, "-P", "-m", "carpool.host.child"),
            *("--config", str(self._config_path)),
            *("--parent", str(os.getpid())),
            *("--listen-fd", str(listener.fileno())),
            *("--report-fd", str(write)),
            *("--lock-fd", str(lock)),
            *("--host-id", self._host_id),
            *("--generation", str(self._generation)),
            *(word for idea in sorted(self._without) for word in ("--without", idea)),
        ]
        defaults = (*_STOP_SIGNALS, signal.SIGCHLD, signal.SIGPIPE)
        # In a process group of its own, which ends with it.
        pid = os.posix_spawn(
            command[0], command, environment, setpgroup=0, setsigdef=defaults, setsigmask=()
        )
        os.close(write)
        self._child = child = ChildProcess(pid, read)
        self._selector.register(read, selectors.EVENT_READ, lambda: self._on_report(child))
        _LOG.info("generation %d started as process %d", self._generation, pid)

    def _on_report(self, child: ChildProcess) -> None:
        if not child.read():
            self._selector.unregister(child.pipe)

    def _reap(self) -> None:
        """Collect every process that ended; as process 1 also such as others left behind."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = self._child
            if child is None or found.si_pid != child.pid:
                os.waitpid(found.si_pid, 0)
                continue
            child.end_group()
            _, status = os.waitpid(child.pid, 0)
            self._child_ended(child, status)

    def _child_ended(self, child: ChildProcess, status: int) -> None:
        self._child = None
        if child.pipe in self._selector.get_map():
            child.read()
            self._selector.unregister(child.pipe)
        os.close(child.pipe)
        _LOG.warning("generation %d %s", self._generation, describe_end(status))
        if self._stopping:
            return
        code = os.waitstatus_to_exitcode(status)
        if code == ExitCode.IDLE:
            self._stopping = "nobody needs it"
            return
        if child.without is not None:
            _LOG.warning("from now on without %s", child.without)
            self._without.add(child.without)
        served = None if child.ready_at is None else time.monotonic() - child.ready_at
        delay = self._policy.died(served)
        if code == ExitCode.PERMANENT:
            raise _GivenUp(child.last_words(status))
        if code == ExitCode.DEVICE_LOST:
            raise _GivenUp(replace(child.last_words(status), permanent=False))
        if delay is None:
            said = child.last_words(status)
            often = f"died {self._policy.failed_starts} times before it was ready, the last time: "
            raise _GivenUp(replace(said, message=often + said.message, permanent=False))
        _LOG.info("next start in %.0f s", delay)
        self._start_at = time.monotonic() + delay

    def _end_child(self) -> None:
        if self._child is None:
            return
        self._child.end(signal.SIGTERM)
        self._child.end_group()
        os.waitpid(self._child.pid, 0)


class _GivenUp(Exception):
    def __init__(self, termination: Termination) -> None:
        super().__init__(termination.message)
        self.termination = termination


def main(arguments: list[str]) -> int:
    """Run the supervisor; gives its exit code: 0 when told to stop, 1 when the host cannot work."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    socket_path: Path = options.socket
    lock = None
    try:
        check_socket_path(socket_path)
        lock = _lock(lock_file(socket_path))
        failure_file(socket_path).unlink(missing_ok=True)
        leash = _hold(options.leash)
        if options.leash is not None and leash is None:
            _LOG.info("ends: the driver has ended")
            return 0
        if options.metrics_port is not None:
            _serve_metrics(options.metrics_port, socket_path)
        Supervisor(options.config, socket_path, leash, options.owner_fd).run(
            lock, options.listening_fd
        )
    except _GivenUp as end:
        return _give_up(socket_path, end.termination)
    except CarpoolError as error:
        if lock is None:  # not ours: whoever holds the socket lives
            _LOG.error("%s", error)
            return 1
        return _give_up(socket_path, Termination(error.reason, str(error)))
    except Exception as error:
        if lock is None:
            raise
        trace = "".join(traceback.format_exception(error))
        reason, text = type(error).__name__, str(error)
        return _give_up(socket_path, Termination(reason, text, trace, permanent=False))
    finally:
        if lock is not None:
            with suppress(OSError):  # it may be the reason
                socket_path.unlink(missing_ok=True)
    return 0


def _serve_metrics(port: int, socket_path: Path) -> None:
    """Serve metrics; a host that cannot is a host all the same."""
    try:
        # Imported here: see `carpool.host.metrics`.
        from carpool.host.metrics import serve_metrics  # noqa: PLC0415 - see above

        serve_metrics(port, socket_path)
    except (ImportError, OSError) as error:
        _LOG.error("no metrics on port %d: %s", port, error)


def _give_up(socket_path: Path, termination: Termination) -> int:
    _LOG.error("gives up: %s: %s", termination.reason, termination.message)
    leave_message(socket_path, termination)
    return 1


def _lock(path: Path) -> int:
    """Lock the file for this process and its children.

    Raises:
        HostStartFailed: another supervisor holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostStartFailed(f"another host holds {path}") from None
            time.sleep(0.05)  # flock(2) knows no timeout
        else:
            return descriptor


def _listen(path: Path) -> socket.socket:
    """Listen for clients; the group may connect, since containers have users of their own."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.chmod(0o660)
    listener.listen(_BACKLOG)
    return listener


def _hold(leash: Path | None) -> socket.socket | None:
    """Connect to the driver; None where there is none."""
    if leash is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(leash))
    except (FileNotFoundError, ConnectionError):
        connection.close()
        return None
    return connection


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m carpool.host", description="Serve one model to many tasks."
    )
    parser.add_argument("--config", type=Path, required=True, help="host configuration (JSON)")
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--metrics-port", type=int, help="serve Prometheus metrics on this port")
    parser.add_argument("--leash", type=Path, help="socket of the driver; the host ends with it")
    parser.add_argument("--owner-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--listening-fd", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)
