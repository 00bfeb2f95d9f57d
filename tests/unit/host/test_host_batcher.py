from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.host.batcher import Batcher
from carpool.host.pacing import Pacer
from carpool.host.work import Batch, Part, Request

PLENTY = 10_000


def request(client: int, number: int, items: int, deaths: int = 0, key: object = None) -> Request:
    return Request(client, number, slot=number, items=items, deaths=deaths, arrived=0.0, key=key)


def shape(batch: Batch | float | None) -> list[tuple[int, int, int, int]]:
    assert isinstance(batch, Batch), batch
    return [(p.request.client, p.request.number, p.start, p.stop) for p in batch.parts]


def next_batch(batcher: Batcher) -> Batch:
    batch = batcher.next(0.0)
    assert isinstance(batch, Batch), batch
    return batch


def test_nothing_queued_gives_nothing() -> None:
    assert Batcher(8).next(0.0) is None


def test_items_of_several_clients_share_a_batch() -> None:
    batcher = Batcher(8)
    batcher.add(request(1, 0, 3), 0.0)
    batcher.add(request(2, 0, 4), 0.0)
    assert shape(next_batch(batcher)) == [(1, 0, 0, 3), (2, 0, 0, 4)]


def test_clients_take_turns() -> None:
    batcher = Batcher(6)
    for number in range(3):
        batcher.add(request(1, number, 2), 0.0)
    batcher.add(request(2, 0, 2), 0.0)
    batcher.add(request(3, 0, 2), 0.0)
    assert shape(next_batch(batcher)) == [(1, 0, 0, 2), (2, 0, 0, 2), (3, 0, 0, 2)]


def test_a_request_larger_than_a_batch_is_cut_and_goes_on_first() -> None:
    batcher = Batcher(4)
    batcher.add(request(1, 0, 6), 0.0)
    batcher.add(request(2, 0, 4), 0.0)
    first = next_batch(batcher)
    assert shape(first) == [(1, 0, 0, 4)]
    batcher.finished(first, 0.1, 0.1)
    assert shape(next_batch(batcher)) == [(1, 0, 4, 6), (2, 0, 0, 2)]


def test_while_the_device_is_busy_requests_gather() -> None:
    batcher = Batcher(8)
    batcher.add(request(1, 0, 1), 0.0)
    running = next_batch(batcher)
    for client in range(2, 6):
        batcher.add(request(client, 0, 2), 0.0)
        assert batcher.next(0.0) is None
    batcher.finished(running, 0.1, 0.1)
    assert next_batch(batcher).items == 8


def test_a_device_of_depth_two_gets_a_second_batch_only_when_full_or_nearly_needed() -> None:
    pacer = Pacer()
    pacer.cost.anchor(1, 0.010)
    pacer.cost.anchor(8, 0.080)
    batcher = Batcher(8, depth=2, pacer=pacer)
    for client in (1, 2, 3):
        batcher.admit(client, PLENTY, 0.0)
    batcher.add(request(1, 0, 8), 0.0)
    running = next_batch(batcher)  # expected to end at 0.080
    batcher.add(request(2, 0, 2), 0.0)
    wait = batcher.next(0.0)
    assert isinstance(wait, float)
    assert 0.05 < wait < 0.08
    second = batcher.next(wait + 1e-6)
    assert shape(second) == [(2, 0, 0, 2)]
    batcher.add(request(3, 0, 8), 0.0)
    assert batcher.next(0.079) is None
    batcher.finished(running, 0.08, 0.08)
    assert shape(batcher.next(0.08)) == [(3, 0, 0, 8)]


def test_lanes_that_are_free_share_what_is_queued() -> None:
    batcher = Batcher(8, lanes=2)
    batcher.add(request(1, 0, 8), 0.0)
    assert shape(next_batch(batcher)) == [(1, 0, 0, 4)]
    assert shape(next_batch(batcher)) == [(1, 0, 4, 8)]
    batcher.add(request(1, 1, 3), 0.0)
    assert batcher.next(0.0) is None


def test_a_free_lane_does_not_wait_for_a_busy_one() -> None:
    pacer = Pacer()
    pacer.cost.anchor(1, 0.010)
    pacer.cost.anchor(8, 0.080)
    batcher = Batcher(8, lanes=2, pacer=pacer)
    batcher.admit(1, PLENTY, 0.0)
    for number in range(2):
        batcher.add(request(1, number, 2), 0.0)
        assert next_batch(batcher).items >= 1


def test_a_suspect_has_all_lanes_for_itself() -> None:
    batcher = Batcher(8, lanes=2)
    batcher.add(request(1, 0, 2), 0.0)
    running = next_batch(batcher)
    batcher.add(request(2, 0, 2, deaths=2), 0.0)
    assert batcher.next(0.0) is None, "a lane is free, but not the device"
    batcher.finished(running, 0.1, 0.1)
    assert shape(next_batch(batcher)) == [(2, 0, 0, 2)]
    assert batcher.queued > 0
    assert batcher.next(0.2) is None


def test_a_suspect_runs_alone() -> None:
    batcher = Batcher(8, depth=2)
    batcher.add(request(1, 0, 2), 0.0)
    running = next_batch(batcher)
    batcher.add(request(2, 0, 2, deaths=2), 0.0)
    batcher.add(request(3, 0, 8), 0.0)
    assert batcher.next(0.0) is None, "nothing joins, and the suspect waits for the device"
    batcher.finished(running, 0.1, 0.1)
    suspect = next_batch(batcher)
    assert shape(suspect) == [(2, 0, 0, 2)]
    assert batcher.next(0.1) is None, "nothing beside it, even on a device of depth two"
    batcher.finished(suspect, 0.1, 0.2)
    assert shape(next_batch(batcher)) == [(3, 0, 0, 8)]


def test_a_suspect_larger_than_a_batch_stays_alone_throughout() -> None:
    batcher = Batcher(4)
    batcher.add(request(1, 0, 6, deaths=2), 0.0)
    batcher.add(request(2, 0, 1), 0.0)
    for expected in ([(1, 0, 0, 4)], [(1, 0, 4, 6)], [(2, 0, 0, 1)]):
        batch = next_batch(batcher)
        assert shape(batch) == expected
        batcher.finished(batch, 0.1, 0.1)


def test_a_retried_batch_runs_as_it_is_before_anything_new() -> None:
    batcher = Batcher(8)
    batcher.add(request(1, 0, 8), 0.0)
    failed = next_batch(batcher)
    batcher.add(request(2, 0, 1), 0.0)
    batcher.finished(failed, None, 0.1)
    batcher.retry(*failed.halves())
    for expected in ([(1, 0, 0, 4)], [(1, 0, 4, 8)], [(2, 0, 0, 1)]):
        batch = next_batch(batcher)
        assert shape(batch) == expected
        batcher.finished(batch, 0.1, 0.1)


def test_a_dropped_client_has_nothing_queued_any_more() -> None:
    batcher = Batcher(4)
    batcher.add(request(1, 0, 2), 0.0)
    batcher.add(request(2, 0, 2), 0.0)
    failed = next_batch(batcher)
    batcher.finished(failed, None, 0.0)
    batcher.retry(*failed.halves())
    batcher.add(request(1, 1, 3), 0.0)
    batcher.add(request(1, 2, 3, deaths=2), 0.0)
    batcher.drop(1)
    assert batcher.queued == 2
    assert shape(next_batch(batcher)) == [(2, 0, 0, 2)]


def test_requests_of_different_keys_share_no_batch() -> None:
    batcher = Batcher(8)
    batcher.add(request(1, 0, 2, key="a"), 0.0)
    batcher.add(request(2, 0, 2, key="b"), 0.0)
    first = next_batch(batcher)
    assert len(first.parts) == 1
    batcher.finished(first, 0.1, 0.1)
    assert len(next_batch(batcher).parts) == 1


def test_a_lowered_limit_holds_for_the_next_batch() -> None:
    batcher = Batcher(8)
    batcher.add(request(1, 0, 8), 0.0)
    batcher.limit.ran_out(7)
    assert next_batch(batcher).items == 3


@settings(max_examples=50)
@given(
    st.integers(1, 9),
    st.integers(1, 2),
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(0, 2), st.booleans()),
        max_size=25,
    ),
)
def test_every_item_comes_out_once_in_its_clients_order(
    max_batch: int, depth: int, arrivals: list[tuple[int, int, int, bool]]
) -> None:
    batcher = Batcher(max_batch, depth=depth)
    now, out = 0.0, list[Part]()
    numbers: Counter[int] = Counter()

    def run(*, until_empty: bool) -> None:
        nonlocal now
        while True:
            found = batcher.next(now)
            if isinstance(found, Batch):
                assert 1 <= found.items <= max_batch
                if any(part.request.alone for part in found.parts):
                    assert list(batcher.running) == [found]
                out.extend(found.parts)
            elif batcher.running:
                batcher.finished(batcher.running[0], 0.01, now)
            elif found is not None:
                now += found
            else:
                return
            if not until_empty:
                return

    for client, items, deaths, step in arrivals:
        batcher.add(request(client, numbers[client], items, deaths), now)
        numbers[client] += 1
        if step:
            run(until_empty=False)
    run(until_empty=True)

    assert batcher.queued == 0
    items_out: dict[Request, list[int]] = defaultdict(list)
    for part in out:
        items_out[part.request] += range(part.start, part.stop)
    assert sum(numbers.values()) == len(items_out)
    for one, indices in items_out.items():
        assert indices == list(range(one.items))
    for client in numbers:
        for alone in (False, True):
            begun = [
                part.request.number
                for part in out
                if part.request.client == client and part.request.alone is alone and not part.start
            ]
            assert begun == sorted(begun)


@pytest.mark.parametrize("sizes", [(2,), (1, 1), (3, 1), (1, 4, 2), (5, 5, 5)])
def test_halves_hold_the_same_items_in_order(sizes: tuple[int, ...]) -> None:
    parts = [Part(request(client, 0, size), 0, size) for client, size in enumerate(sizes)]
    batch = Batch(parts, alone=True)
    first, second = batch.halves()
    assert first.items == batch.items // 2
    assert second.items == batch.items - first.items
    assert first.alone
    assert second.alone

    def items(one: Batch) -> list[tuple[int, int]]:
        return [(p.request.client, i) for p in one.parts for i in range(p.start, p.stop)]

    assert items(first) + items(second) == items(batch)
