from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.host.fairness import DeficitRoundRobin
from carpool.host.work import Part, Request


def part(client: int, number: int, items: int) -> Part:
    request = Request(client, number, slot=number, items=items, deaths=0, arrived=float(number))
    return Part(request, 0, items)


def queue_of(*parts: Part) -> DeficitRoundRobin:
    queue = DeficitRoundRobin()
    for each in parts:
        queue.push(each)
    return queue


def taken(queue: DeficitRoundRobin, room: int) -> list[tuple[int, int]]:
    return [(each.request.client, each.items) for each in queue.take(room)]


def test_clients_of_equal_requests_take_turns() -> None:
    queue = queue_of(*(part(client, number, 2) for client in (1, 2) for number in range(3)))
    assert taken(queue, 8) == [(1, 2), (2, 2), (1, 2), (2, 2)]


def test_a_client_of_small_requests_gets_as_many_items_as_one_of_large_ones() -> None:
    small = [part(1, number, 1) for number in range(24)]
    large = [part(2, number, 8) for number in range(3)]
    queue = queue_of(*small, *large)
    share = Counter[int]()
    for _ in range(2):
        for client, items in taken(queue, 16):
            share[client] += items
        assert share[1] == share[2]


def test_what_does_not_fit_into_the_quantum_is_saved_for_the_next_turn() -> None:
    queue = queue_of(part(1, 0, 4), part(1, 1, 8), part(2, 0, 8), part(2, 1, 8))
    # Eight a turn: client 1 sends four, saves four, and then has twelve for its large request.
    assert taken(queue, 28) == [(1, 4), (2, 8), (1, 8), (2, 8)]


def test_a_request_cut_by_the_end_of_a_batch_goes_first_in_the_next() -> None:
    queue = queue_of(part(1, 0, 6), part(2, 0, 6))
    assert taken(queue, 8) == [(1, 6), (2, 2)]
    assert taken(queue, 8) == [(2, 4)]


def test_a_client_that_had_nothing_to_send_saved_nothing() -> None:
    queue = queue_of(part(1, 0, 1), part(2, 0, 8))
    assert taken(queue, 9) == [(1, 1), (2, 8)]
    for number in range(1, 21):
        queue.push(part(1, number, 1))
    queue.push(part(2, 1, 8))
    assert taken(queue, 16) == [(1, 1)] * 8 + [(2, 8)]


def test_what_a_dropped_client_had_queued_is_gone() -> None:
    queue = queue_of(part(1, 0, 3), part(2, 0, 2), part(1, 1, 3))
    queue.drop(1)
    queue.drop(7)
    assert queue.items == 2
    assert queue.oldest() == 0.0
    assert taken(queue, 8) == [(2, 2)]
    assert queue.oldest() == float("inf")


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(1, 16), min_size=20, max_size=20), min_size=2, max_size=6),
    st.integers(1, 32),
)
def test_clients_that_always_wait_are_never_more_than_two_quanta_apart(
    sizes: list[list[int]], room: int
) -> None:
    """The bound of Shreedhar and Varghese, Theorem 4.2: a quantum and a largest request."""
    queue = DeficitRoundRobin()
    left = Counter[int]()
    # All requests of a client are queued before any is taken, so the quantum is known throughout.
    for number in range(20):
        for client, requests in enumerate(sizes):
            queue.push(part(client, number, requests[number]))
            left[client] += requests[number]
    quantum = max(map(max, sizes))
    got = Counter[int](dict.fromkeys(left, 0))
    total = sum(left.values())
    while all(got[client] < left[client] for client in left):
        assert max(got.values()) - min(got.values()) <= 2 * quantum + room
        for each in queue.take(room):
            got[each.request.client] += each.items
    while found := queue.take(room):
        for each in found:
            got[each.request.client] += each.items
    assert got == left
    assert got.total() == total
