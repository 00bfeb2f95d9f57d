"""A client's connection to the host: connecting, shaking hands, waiting for signs of life.

It knows nothing of requests. What must stay true: whoever waits here waits as long as a host shows
life, and no longer than `timeout` without any; a host that has said why it cannot work ends the
wait at once, unless a host elsewhere or later might.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from carpool.errors import HostError, HostStartFailed, HostTimeout, ProtocolError
from carpool.host.messages import Message, Refusal, RefusalCode
from carpool.host.process import check_socket_path
from carpool.host.protocol import MAX_MESSAGE, decode, encode
from carpool.host.termination import find_message

_FIRST_RETRY = 0.02
_LAST_RETRY = 0.5
"""Seconds between attempts to connect while nobody listens."""
_LOOKS = 8
"""The kernel ends a receive so often within the timeout, to look whether patience has ended."""


class HostGone(Exception):
    """The connection ended: the host died, or closed it."""


class Link:
    """At most one connection at a time to the host at a path.

    Attributes:
        connected: whether there is one.
    """

    def __init__(
        self, path: Path, timeout: float, revive: Callable[[], object] | None = None
    ) -> None:
        """Take where the host is; nothing is opened yet.

        Args:
            path: of the host's socket.
            timeout: seconds without any sign of life after which waiting ends.
            revive: called when nobody listens, to start a host again.

        Raises:
            HostStartFailed: no Unix socket can have this path.
        """
        self._path = check_socket_path(path)
        self._timeout = timeout
        self._revive = revive
        self._socket: socket.socket | None = None
        self._patience_ends = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection; the host may be dead all the same."""
        return self._socket is not None

    def be_patient(self) -> None:
        """Begin a wait: the timeout counts from here, and anew from every message."""
        self._patience_ends = time.monotonic() + self._timeout

    def connect(self) -> None:
        """Connect, waiting for someone to listen.

        Raises:
            HostStartFailed: the host has left a message that says why it cannot work, anywhere.
            HostTimeout: nobody listens in time.
            HostError: the socket cannot be used, for example for want of permission.
        """
        pause = _FIRST_RETRY
        while True:
            left = self._left()
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.settimeout(left)
            try:
                connection.connect(str(self._path))
            except (FileNotFoundError, ConnectionError):
                connection.close()
                message = find_message(self._path)
                if message is not None and message.permanent:
                    raise message.error() from None
                if self._revive is not None:
                    self._revive()
            except BlockingIOError:  # the backlog is full
                connection.close()
            except OSError as error:
                connection.close()
                raise HostError(
                    f"cannot connect to the model host at {self._path}: {error}"
                ) from error
            else:
                self._socket = self._with_timeouts(connection)
                return
            time.sleep(min(pause, self._left()))
            pause = min(2 * pause, _LAST_RETRY)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send a message, with a file descriptor where one is given.

        Raises:
            HostGone: the host died.
        """
        connection = self._open()
        try:
            if descriptor is None:
                connection.send(encode(message))
            else:
                socket.send_fds(connection, [encode(message)], [descriptor])
        except OSError as error:
            raise HostGone from error

    def receive(self) -> Message:
        """Wait for a message.

        Raises:
            HostGone: end of file.
            HostTimeout: no sign of life in time.
            HostStartFailed: the host says that it cannot work.
            HostError: the host has no memory for this client.
            ProtocolError: the host refuses this client, or says what cannot be understood.
        """
        connection = self._open()
        while True:
            try:
                packet = _packet(connection)
            except BlockingIOError:
                self._left()
                continue
            self.be_patient()
            return _accepted(packet)

    def poll(self) -> Message | None:
        """Give a message that is there already, or None.

        Raises:
            HostGone: end of file.
            HostStartFailed, HostError, ProtocolError: as `receive`.
        """
        try:
            packet = _packet(self._open(), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return _accepted(packet)

    def _with_timeouts(self, connection: socket.socket) -> socket.socket:
        """Have the kernel keep the time: a timeout of Python's costs a poll(2) for each call."""
        connection.settimeout(None)
        for option, seconds in (
            (socket.SO_SNDTIMEO, self._timeout),
            (socket.SO_RCVTIMEO, self._timeout / _LOOKS),
        ):
            # A time of zero would be none at all.
            whole, part = divmod(max(1, int(seconds * 1e6)), 1_000_000)
            connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", whole, part))
        return connection

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise HostGone
        return self._socket

    def _left(self) -> float:
        left = self._patience_ends - time.monotonic()
        if left <= 0:
            last = find_message(self._path)
            words = f"; its last words were: {last.message}" if last else ""
            raise HostTimeout(
                f"the model host at {self._path} has shown no life for {self._timeout:g} s{words}"
            )
        return left


def _packet(connection: socket.socket, flags: int = 0) -> bytes:
    try:
        packet = connection.recv(MAX_MESSAGE + 1, flags)
    except ConnectionResetError:
        # The host died with messages of ours unread. What it sent before is still to be had.
        try:
            packet = connection.recv(MAX_MESSAGE + 1, flags)
        except ConnectionError as error:
            raise HostGone from error
    if not packet:
        raise HostGone
    return packet


def _accepted(packet: bytes) -> Message:
    message = decode(packet)
    if isinstance(message, Refusal):
        if message.code is RefusalCode.START_FAILED:
            raise HostStartFailed(f"the model host cannot start: {message.text}")
        if message.code is RefusalCode.ARENA:
            raise HostError(f"the model host cannot serve this task: {message.text}")
        raise ProtocolError(f"the model host refuses this task: {message.text}")
    return message
