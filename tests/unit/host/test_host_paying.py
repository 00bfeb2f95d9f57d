"""The largest batch that a device with streams is given: one that pays, and fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.host.backends.base import OutOfMemory
from carpool.host.backends.paying import paying_size

SIZES = (1, 2, 4, 8, 16)


def test_a_device_with_a_fixed_cost_gets_the_largest_batch():
    assert paying_size(SIZES, lambda size: (20 + size) / size) == 16


def test_where_items_gain_nothing_by_each_other_the_smallest_is_enough():
    assert paying_size(SIZES, lambda size: 1.0) == 1


def test_no_time_is_spent_on_sizes_below_one_that_does_not_pay():
    asked: list[int] = []

    def seconds(size: int) -> float:
        asked.append(size)
        return 1.0 if size >= 8 else 2.0

    assert paying_size(SIZES, seconds) == 8
    assert asked == [16, 8, 4]


def test_a_size_for_which_there_is_no_memory_is_left_out():
    def seconds(size: int) -> float:
        if size > 4:
            raise OutOfMemory("no room")
        return (20 + size) / size

    assert paying_size(SIZES, seconds) == 4


@given(st.sets(st.integers(1, 64), min_size=1), st.integers(0, 65))
def test_what_is_chosen_is_one_of_the_sizes_and_fits_if_any_does(sizes, most):
    def seconds(size: int) -> float:
        if size > most:
            raise OutOfMemory("no room")
        return 1.0 / size

    ordered = sorted(sizes)
    fitting = [size for size in ordered if size <= most]
    assert paying_size(ordered, seconds) == (fitting[-1] if fitting else ordered[0])
