from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.host.shapes import BatchShapes, powers_of_two

SIZES = st.lists(st.integers(1, 64), max_size=6)


def linear(base: float, per_item: float):
    return lambda items: base + per_item * items


def test_without_sizes_every_batch_is_computed_as_it_is() -> None:
    shapes = BatchShapes()
    assert [shapes.padded(n) for n in (1, 5, 99)] == [1, 5, 99]
    assert shapes.fill(7, linear(1, 1)) == 7
    assert shapes.floor(7) == 7
    assert shapes.within(4).sizes == ()


def test_a_batch_is_padded_to_the_next_size() -> None:
    shapes = BatchShapes([8, 1, 4])
    assert [shapes.padded(n) for n in range(1, 10)] == [1, 4, 4, 4, 8, 8, 8, 8, 9]
    assert [shapes.floor(n) for n in (1, 3, 4, 7, 8, 20)] == [1, 1, 4, 4, 8, 8]


def test_padding_that_costs_more_than_it_brings_is_avoided() -> None:
    shapes = BatchShapes([8, 16])
    # Nine items, no fixed cost: eight now and one later beat sixteen computed for nine.
    assert shapes.fill(9, linear(0, 1)) == 8
    # Where a batch costs the same whatever its size, all nine go at once.
    assert shapes.fill(9, linear(1, 0)) == 9
    assert shapes.fill(15, linear(2, 1)) == 15
    assert shapes.fill(16, linear(0, 1)) == 16
    assert shapes.fill(5, linear(0, 1)) == 5


def test_sizes_end_with_the_largest_batch() -> None:
    assert BatchShapes([1, 8, 32]).within(12).sizes == (1, 8, 12)
    assert BatchShapes([16]).within(4).sizes == (4,)
    assert powers_of_two(12).sizes == (1, 2, 4, 8, 12)
    assert powers_of_two(1).sizes == (1,)
    assert powers_of_two(8).sizes == (1, 2, 4, 8)


@given(SIZES, st.integers(1, 80), st.floats(0, 1), st.floats(0, 1))
def test_no_other_fill_gives_more_items_in_the_devices_time(
    sizes: list[int], waiting: int, base: float, per_item: float
) -> None:
    shapes = BatchShapes(sizes)
    seconds = linear(base, per_item)

    def rate(items: int) -> float:
        return items / (seconds(shapes.padded(items)) or 1e-9)

    chosen = shapes.fill(waiting, seconds)
    assert 1 <= chosen <= waiting
    if sizes:
        assert rate(chosen) >= rate(waiting) * (1 - 1e-9)
        if min(sizes) <= waiting:
            assert rate(chosen) >= rate(shapes.floor(waiting)) * (1 - 1e-9)
    else:
        assert chosen == waiting


@pytest.mark.parametrize("most", [1, 3, 64])
def test_the_largest_batch_is_always_one_of_the_sizes(most: int) -> None:
    assert powers_of_two(most).padded(most) == most
    assert BatchShapes([2, 5]).within(most).padded(most) == most
