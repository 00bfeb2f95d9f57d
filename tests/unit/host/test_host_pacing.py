from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.host.pacing import CostModel, Pacer


@settings(max_examples=50)
@given(
    st.floats(0, 0.1), st.floats(1e-6, 0.1), st.lists(st.integers(1, 64), min_size=2, max_size=40)
)
def test_the_fit_finds_base_and_slope(base: float, slope: float, sizes: list[int]) -> None:
    cost = CostModel()
    cost.anchor(1, base + slope)
    cost.anchor(64, base + slope * 64)
    for size in sizes:
        cost.observe(size, base + slope * size)
    assert cost.base == pytest.approx(base, abs=1e-6)
    assert cost.per_item == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_the_fit_follows_a_device_that_became_slower() -> None:
    cost = CostModel()
    cost.anchor(1, 0.011)
    cost.anchor(16, 0.026)
    for _ in range(200):
        cost.observe(4, 0.010 + 0.008)
        cost.observe(16, 0.010 + 0.032)
    assert cost.predict(16) == pytest.approx(0.042, rel=0.05)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=30))
def test_whatever_is_measured_no_cost_is_negative(measured: list[tuple[int, float]]) -> None:
    cost = CostModel()
    for items, seconds in measured:
        cost.observe(items, seconds)
    assert cost.base >= 0
    assert cost.per_item >= 0


def pacer(base: float, slope: float, rate: float) -> Pacer:
    """Of one client that needs 1 / rate for an item and has been seen to."""
    made = Pacer()
    made.cost.anchor(1, base + slope)
    made.cost.anchor(32, base + 32 * slope)
    made.arrivals.admit(1, 1 << 20, 0.0)
    for step in range(int(NOW * rate) + 1):
        made.arrivals.submitted(1, 1, step / rate)
    return made


NOW = 3.0


def test_a_device_without_fixed_cost_is_never_kept_waiting() -> None:
    assert pacer(0.0, 0.05, 1000).hold_idle(1, 32, NOW) == 0


def test_rare_arrivals_are_not_waited_for() -> None:
    assert pacer(0.010, 0.001, 20).hold_idle(1, 32, NOW) == 0


def test_frequent_arrivals_are_waited_for_until_it_no_longer_pays() -> None:
    made = pacer(0.020, 0.001, 1000)  # λ·b = 20
    wait = made.hold_idle(5, 32, NOW)
    assert wait == pytest.approx(15 / 1000, rel=0.1)
    assert made.hold_idle(21, 32, NOW + wait) == 0


def test_nothing_is_waited_for_when_nobody_may_send_more() -> None:
    assert pacer(0.020, 0.001, 1000).hold_idle(8, 8, NOW) == 0


def test_a_wait_ends_even_if_nothing_comes() -> None:
    made = pacer(0.020, 0.001, 1000)
    now, waits = NOW, 0
    while (wait := made.hold_idle(1, 32, now)) > 0:
        now += wait
        waits += 1
        assert waits < 100
    assert now - NOW <= 2 * 0.020 + 1e-9


def test_the_next_wait_is_counted_anew() -> None:
    made = pacer(0.020, 0.001, 1000)
    first = made.hold_idle(1, 32, NOW)
    assert first > 0
    assert made.hold_idle(32, 32, NOW + 0.001) == 0
    assert made.hold_idle(1, 32, NOW + 0.002) > 0


def test_behind_a_running_batch_a_full_one_is_staged_at_once() -> None:
    assert pacer(0.020, 0.001, 1000).hold_busy(32, 32, free_at=NOW + 1, now=NOW) == 0


def test_behind_a_running_batch_a_small_one_waits_until_shortly_before_its_end() -> None:
    made = pacer(0.020, 0.001, 1000)
    wait = made.hold_busy(2, 32, free_at=NOW + 0.052, now=NOW)
    assert wait is not None
    assert 0.03 < wait < 0.052
    assert made.hold_busy(2, 32, free_at=NOW + 0.052, now=NOW + wait + 1e-6) == 0


def test_nothing_is_staged_where_all_that_can_come_will_come_sooner_than_a_batch_costs() -> None:
    made = pacer(0.020, 0.001, 1000)  # sixteen more items take 16 ms, a batch of its own 20 ms
    assert made.hold_busy(2, 16, free_at=NOW + 0.052, now=NOW) is None
