"""What the host does with a client that does not read, and how it tells what is answered."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from carpool.host.arena import ArenaLayout, SlotFormat, SlotState, adopt_arena, create_arena
from carpool.host.credits import MOST_SLOTS
from carpool.host.messages import Alive, Answer, Credit, Done, Failed, FailureCode, Message, Submit
from carpool.host.poller import Poller
from carpool.host.protocol import decode, encode
from carpool.host.session import Session
from carpool.host.work import Part


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def ends(poller: Poller) -> Iterator[tuple[Session, socket.socket]]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    there.setblocking(False)
    with there:
        session = Session(1, here, poller, lambda _session, _now: None)
        yield session, there
        session.close()


def done(number: int) -> Done:
    return Done((Answer(number, 0, 0, 0, 1),))


def fill(session: Session) -> int:
    """Say more than the socket takes; gives how many messages that were."""
    sent = 0
    while not session.stuck:
        session.send(done(sent))
        sent += 1
    return sent


def read(session: Session, there: socket.socket) -> list[Message]:
    heard: list[Message] = []
    while True:
        try:
            heard.append(decode(there.recv(5000)))
        except BlockingIOError:
            if not session.stuck:
                return heard
            session.flush()


def test_what_the_socket_does_not_take_comes_later_in_order(ends) -> None:
    session, there = ends
    sent = fill(session)
    for more in range(50):
        session.send(done(sent + more))
    assert read(session, there) == [done(number) for number in range(sent + 50)]


def test_it_is_heard_again_when_it_has_read(ends, poller) -> None:
    session, there = ends
    assert not poller.wait(0)
    there.send(encode(Alive()))
    assert poller.wait(0)
    fill(session)
    assert not poller.wait(0), "it has said something, but reads nothing"
    while not poller.wait(0):
        there.recv(5000)
    read(session, there)
    assert poller.wait(0), "what it said is still to be read"
    assert session.receive() == Alive()
    assert not poller.wait(0), "that there is room is no news any more"


def test_of_signs_of_life_and_windows_it_gets_only_what_still_matters(ends) -> None:
    """Clients come and go by the thousand while it decodes one long video."""
    session, there = ends
    sent = fill(session)
    waiting = len(session._outbox)
    for window in range(1000):
        session.send(Credit(window))
        session.send(Alive())
    session.send(done(sent))
    assert len(session._outbox) == waiting + 2
    assert read(session, there)[sent:] == [Credit(999), done(sent)]


def with_arena(session: Session, slots: int) -> Session:
    layout = ArenaLayout(SlotFormat((1, 1, 3), 4, 6), slots, 1)
    _, descriptor = create_arena(layout)
    session.arena = adopt_arena(descriptor, layout)
    os.close(descriptor)
    session.credits = slots
    return session


def run(session: Session, number: int, *, fails: bool = False) -> None:
    """One request from SUBMIT to its answer."""
    request = session.accept(Submit(number, number, 1, 0), 0.0)
    part = Part(request, 0, 1)
    session.begin(part, 0.0)
    if fails:
        session.fail(part, FailureCode.INFERENCE, "bad")
    else:
        session.store(part, np.zeros((1, 2, 6), np.float32))
    session.answer(request)
    session.take_off(part)


def test_what_is_answered_together_is_told_in_one_message_and_once(ends) -> None:
    session, there = ends
    with_arena(session, MOST_SLOTS)
    for number in range(MOST_SLOTS):
        run(session, number)
    session.tell()
    session.tell()
    (heard,) = read(session, there)
    assert isinstance(heard, Done)
    assert [answer.request for answer in heard.answers] == list(range(MOST_SLOTS))


def test_an_item_without_rows_is_named_before_its_request_is_done(ends) -> None:
    session, there = ends
    with_arena(session, 3)
    for number in range(3):
        run(session, number, fails=number == 1)
    session.tell()
    failed, heard = read(session, there)
    assert failed == Failed(1, FailureCode.INFERENCE, (0,), "bad")
    assert isinstance(heard, Done)
    assert [answer.request for answer in heard.answers] == [0, 1, 2]
    assert session.arena is not None
    assert session.arena.states.tolist() == [SlotState.ANSWERED] * 3


def test_only_a_client_that_has_several_requests_outstanding_runs_ahead(ends) -> None:
    session, _ = ends
    with_arena(session, 2)
    first = session.accept(Submit(0, 0, 1, 0), 0.0)
    assert not session.runs_ahead
    session.accept(Submit(1, 1, 1, 0), 0.0)
    assert session.runs_ahead
    session.answer(first)
    assert not session.runs_ahead
