from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from carpool.host.mailbox import Mailbox
from carpool.host.poller import Poller

LETTERS = 20_000


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


@pytest.fixture
def poller(mailbox: Mailbox) -> Iterator[Poller]:
    made = Poller()
    made.watch(mailbox, lambda _now: None, edge=True)
    yield made
    made.close()


def test_letters_come_in_the_order_in_which_they_were_left(mailbox) -> None:
    for number in range(5):
        mailbox.post(number)
    assert mailbox.collect() == [0, 1, 2, 3, 4]
    assert mailbox.collect() == []


def test_one_who_sleeps_is_woken_once_for_several_letters(mailbox, poller) -> None:
    assert mailbox.may_sleep()
    mailbox.post("a")
    assert len(poller.wait(0)) == 1
    mailbox.post("b")
    assert not poller.wait(0)
    assert mailbox.collect() == ["a", "b"]


def test_one_who_is_awake_is_not_woken_and_does_not_fall_asleep_over_a_letter(
    mailbox, poller
) -> None:
    mailbox.collect()
    mailbox.post("a")
    assert not poller.wait(0)
    assert not mailbox.may_sleep()
    assert mailbox.collect() == ["a"]
    assert mailbox.may_sleep()


def test_no_letter_is_slept_over_however_threads_and_event_loop_meet(mailbox, poller) -> None:
    """A lost wake-up would leave the loop asleep with letters that nobody will speak of again."""
    posters = [
        threading.Thread(target=lambda: [mailbox.post(n) for n in range(LETTERS)]) for _ in range(3)
    ]
    for poster in posters:
        poster.start()
    found = 0
    while found < len(posters) * LETTERS:
        if mailbox.may_sleep():
            assert poller.wait(30.0), "asleep, and nobody woke it"
        found += len(mailbox.collect())
    for poster in posters:
        poster.join()
