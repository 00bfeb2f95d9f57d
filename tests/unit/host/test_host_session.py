"""What the host does with a client that does not read."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from carpool.host.messages import Alive, Credit, Done, Message
from carpool.host.protocol import decode
from carpool.host.session import Session


@pytest.fixture
def ends() -> Iterator[tuple[Session, socket.socket, selectors.BaseSelector]]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    there.setblocking(False)
    with selectors.DefaultSelector() as selector, there:
        session = Session(1, here, selector, lambda _session, _mask: None)
        yield session, there, selector
        session.close()


def fill(session: Session) -> int:
    """Say more than the socket takes; gives how many messages that were."""
    sent = 0
    while not session._outbox:
        session.send(Done(sent, 0, 0, 0, 1))
        sent += 1
    return sent


def read(session: Session, there: socket.socket) -> list[Message]:
    heard: list[Message] = []
    while True:
        try:
            heard.append(decode(there.recv(5000)))
        except BlockingIOError:
            if not session._outbox:
                return heard
            session.flush()


def events(selector: selectors.BaseSelector) -> int:
    (key,) = selector.get_map().values()
    return key.events


def test_what_the_socket_does_not_take_comes_later_in_order(ends) -> None:
    session, there, _ = ends
    sent = fill(session)
    for more in range(50):
        session.send(Done(sent + more, 0, 0, 0, 1))
    assert read(session, there) == [Done(number, 0, 0, 0, 1) for number in range(sent + 50)]


def test_it_is_heard_again_when_it_has_read(ends) -> None:
    session, there, selector = ends
    assert events(selector) == selectors.EVENT_READ
    fill(session)
    assert events(selector) == selectors.EVENT_WRITE
    read(session, there)
    assert events(selector) == selectors.EVENT_READ


def test_of_signs_of_life_and_windows_it_gets_only_what_still_matters(ends) -> None:
    """Clients come and go by the thousand while it decodes one long video."""
    session, there, _ = ends
    sent = fill(session)
    waiting = len(session._outbox)
    for window in range(1000):
        session.send(Credit(window))
        session.send(Alive())
    session.send(Done(sent, 0, 0, 0, 1))
    assert len(session._outbox) == waiting + 2
    assert read(session, there)[sent:] == [Credit(999), Done(sent, 0, 0, 0, 1)]
