"""How good the batches are: the real batcher, with clients and device in virtual time."""

from __future__ import annotations

import pytest

from support.batching_model import Client, Device, run

MS = 1e-3
ITEM = 1 * MS


def mean(values: list[int]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("prepare", [0.2 * MS, 2 * MS, 20 * MS])
def test_eight_clients_on_a_device_with_a_large_fixed_cost(depth: int, prepare: float) -> None:
    """b = 20·a; they could send more than the device takes, or just as much."""
    device = Device(20 * ITEM, ITEM, depth)
    outcome = run(device, [Client(1, prepare, slots=64)] * 8, max_batch=16, seconds=20)
    ideal = min(16 / device.seconds(16), 8 / prepare)
    assert outcome.mean_batch >= 6
    assert outcome.throughput >= 0.95 * ideal
    waits = [mean(each) for each in outcome.waits]
    assert max(waits) - min(waits) <= 2


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("ratio", [5, 20, 100])
@pytest.mark.parametrize("clients", [2, 8, 16])
def test_clients_that_wait_for_each_answer_share_one_batch(
    depth: int, ratio: int, clients: int
) -> None:
    """Their credits would allow more; who cut them in two halves would wait for ever for more."""
    device = Device(ratio * ITEM, ITEM, depth)
    crowd = [Client(1, 0.2 * MS, slots=64, requests=1)] * clients
    outcome = run(device, crowd, max_batch=16, seconds=20)
    assert outcome.mean_batch >= 0.75 * clients
    assert outcome.throughput >= 0.9 * clients / (device.seconds(clients) + 0.2 * MS)


@pytest.mark.parametrize("ratio", [0, 1, 5, 20, 100])
@pytest.mark.parametrize("clients", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    ("items", "prepare", "max_batch"), [(1, 0.2, 16), (4, 1, 32), (16, 0.1, 8)]
)
def test_where_demand_is_the_device_works_at_its_best_rate(
    ratio: int, clients: int, items: int, prepare: float, max_batch: int
) -> None:
    device = Device(ratio * ITEM, ITEM)
    outcome = run(device, [Client(items, prepare * MS, slots=64)] * clients, max_batch, seconds=20)
    ideal = min(max_batch / device.seconds(max_batch), clients / (prepare * MS))
    assert outcome.throughput >= 0.95 * ideal


@pytest.mark.parametrize("clients", [1, 4, 16])
def test_few_credits_are_sent_together_where_a_batch_is_dear(clients: int) -> None:
    """With two slots a client there is one full batch, or two halves that cost twice as much."""
    device = Device(20 * ITEM, ITEM)
    outcome = run(device, [Client(1, 0.2 * MS, slots=2)] * clients, max_batch=64, seconds=20)
    together = 2 * clients
    assert outcome.throughput >= 0.95 * together / (device.seconds(together) + 2 * 0.2 * MS)


def test_where_batches_are_cheap_the_device_never_waits() -> None:
    device = Device(0, ITEM)
    outcome = run(device, [Client(1, 2 * MS, slots=2)] * 4, max_batch=64, seconds=20)
    assert outcome.throughput >= 0.99 / ITEM


@pytest.mark.parametrize("depth", [1, 2])
def test_slow_clients_cost_the_fast_ones_nothing(depth: int) -> None:
    device = Device(5 * ITEM, ITEM, depth)
    crowd = [Client(1, 0.5 * MS, slots=16)] * 6 + [Client(8, 50 * MS, slots=4)] * 2
    outcome = run(device, crowd, max_batch=16, seconds=40)
    assert outcome.throughput >= 0.95 * 16 / device.seconds(16)
    fast = outcome.items[:6]
    assert max(fast) <= 1.05 * min(fast)


def test_clients_that_always_wait_get_equal_items_whatever_their_requests() -> None:
    device = Device(5 * ITEM, ITEM)
    crowd = [Client(items, 0.05 * MS, slots=64) for items in (1, 2, 4, 8)]
    outcome = run(device, crowd, max_batch=64, seconds=60)
    assert max(outcome.items) <= 1.05 * min(outcome.items)
