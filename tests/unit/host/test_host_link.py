"""How long a client waits, and what it takes without waiting."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import HostTimeout
from carpool.host import link as link_module
from carpool.host.link import HostGone, Link
from carpool.host.messages import Alive, Credit, StatsRequest
from carpool.host.protocol import decode, encode

TIMEOUT = 0.2


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


@pytest.fixture
def link(tmp_path: Path, listener: socket.socket) -> Iterator[Link]:
    made = Link(tmp_path / "s", TIMEOUT)
    made.be_patient()
    made.connect()
    yield made
    made.close()


@pytest.fixture
def host(link: Link, listener: socket.socket) -> Iterator[socket.socket]:
    connection, _ = listener.accept()
    with connection:
        yield connection


def count_looks(monkeypatch: pytest.MonkeyPatch, step: float) -> Iterator[int]:
    """A clock that only moves when it is looked at; gives how often it was."""
    looks = itertools.count()
    monkeypatch.setattr(link_module.time, "monotonic", lambda: next(looks) * step)
    return looks


def say_without_end(link: Link) -> None:
    while True:
        link.send(StatsRequest())


def test_a_host_that_shows_no_life_is_waited_for_until_the_timeout(
    link: Link, host: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch, TIMEOUT / 3)
    link.be_patient()
    with pytest.raises(HostTimeout, match=r"no life for 0\.2 s"):
        link.receive()
    assert next(looks) == 4, "at the begin, and until three thirds were over"


def test_every_message_begins_the_wait_anew(
    link: Link, host: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_looks(monkeypatch, TIMEOUT / 3)
    link.be_patient()
    for _ in range(10):
        host.send(encode(Alive()))
        assert link.receive() == Alive()
    with pytest.raises(HostTimeout):
        link.receive()


def test_a_wait_ends_by_the_clock_of_the_machine(link: Link, host: socket.socket) -> None:
    """Nothing but the kernel's own timeout wakes the one who waits."""
    link.be_patient()
    with pytest.raises(HostTimeout):
        link.receive()


def test_what_is_there_is_taken_without_waiting(link: Link, host: socket.socket) -> None:
    assert link.poll() is None
    host.send(encode(Credit(7)))
    host.send(encode(Alive()))
    assert link.poll() == Credit(7)
    assert link.poll() == Alive()
    assert link.poll() is None


def test_what_the_host_said_before_it_died_is_still_heard(link: Link, host: socket.socket) -> None:
    link.send(StatsRequest())
    host.send(encode(Credit(7)))
    host.close()  # with a message of ours unread
    assert link.poll() == Credit(7)
    with pytest.raises(HostGone):
        link.poll()
    with pytest.raises(HostGone):
        link.receive()


def test_a_host_that_reads_nothing_is_given_up_by_who_writes(
    link: Link, host: socket.socket
) -> None:
    """No client has so much to say; a host that is stopped must not stop a task for ever."""
    with pytest.raises(HostGone):
        say_without_end(link)
    assert decode(host.recv(100)) == StatsRequest()
