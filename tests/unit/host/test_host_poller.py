from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from carpool.host.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


class Event:
    """An eventfd, which has a descriptor and nothing else."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self.descriptor


def turn(poller: Poller, now: float = 0.0) -> int:
    """React to what is ready; to how much that was."""
    ready = poller.wait(0)
    for react in ready:
        react(now)
    return len(ready)


def test_a_reaction_is_called_with_the_time_as_long_as_there_is_something_to_read(
    poller, ends
) -> None:
    here, there = ends
    calls: list[float] = []
    poller.watch(here, calls.append)
    assert turn(poller) == 0
    there.send(b"x")
    assert turn(poller, 1.0) == turn(poller, 2.0) == 1
    here.recv(1)
    assert turn(poller) == 0
    assert calls == [1.0, 2.0]


def test_the_end_of_the_other_side_is_an_event_even_while_only_room_is_awaited(
    poller, ends
) -> None:
    here, there = ends
    here.setblocking(False)
    calls: list[float] = []
    poller.watch(here, calls.append)
    with suppress(BlockingIOError):
        while True:
            here.send(b"x" * 1000)
    poller.await_room(here)
    assert turn(poller) == 0
    there.close()
    assert turn(poller) == 1


def test_an_edge_is_told_once_whether_or_not_anyone_reads(poller) -> None:
    event = Event()
    poller.watch(event, lambda _now: None, edge=True)
    os.eventfd_write(event.descriptor, 1)
    assert turn(poller) == 1
    assert turn(poller) == 0
    os.eventfd_write(event.descriptor, 1)
    assert turn(poller) == 1
    poller.forget(event)
    os.close(event.descriptor)


def test_what_is_forgotten_is_not_reacted_to_but_in_the_turn_in_which_it_was_ready(
    poller, ends
) -> None:
    """Its reaction may be one of several that are ready, and the one before it forgets it."""
    calls: list[str] = []

    def react(mine: socket.socket, other: socket.socket, _now: float) -> None:
        calls.append("called")
        if mine in poller and other in poller:
            poller.forget(other)

    here, there = ends
    poller.watch(here, partial(react, here, there))
    poller.watch(there, partial(react, there, here))
    here.send(b"x")
    there.send(b"x")
    assert turn(poller) == 2
    assert turn(poller) == 1
    assert len(calls) == 3
