from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.host.batch_limit import CLEAN_BATCHES, BatchLimit
from carpool.host.shapes import BatchShapes, powers_of_two


def succeed(limit: BatchLimit, batches: int) -> None:
    for _ in range(batches):
        limit.succeeded(limit.items)


def test_running_out_of_memory_halves_the_limit() -> None:
    limit = BatchLimit(32, BatchShapes())
    limit.ran_out(24)
    assert limit.items == 12
    limit.ran_out(12)
    assert limit.items == 6
    limit.ran_out(32)  # a batch that was cut before the limit fell
    assert limit.items == 6
    for _ in range(5):
        limit.ran_out(limit.items)
    assert limit.items == 1


def test_the_limit_recovers_a_step_after_many_clean_batches_up_to_where_it_was() -> None:
    limit = BatchLimit(32, BatchShapes())
    limit.ran_out(32)
    succeed(limit, CLEAN_BATCHES - 1)
    assert limit.items == 16
    succeed(limit, 1)
    assert limit.items == 18
    succeed(limit, 100 * CLEAN_BATCHES)
    assert limit.items == 32


def test_only_batches_at_the_limit_count() -> None:
    limit = BatchLimit(8, BatchShapes())
    limit.ran_out(8)
    for _ in range(10 * CLEAN_BATCHES):
        limit.succeeded(3)
    assert limit.items == 4


def test_each_recovery_that_was_too_early_doubles_the_patience() -> None:
    limit = BatchLimit(16, powers_of_two(16))
    limit.ran_out(16)
    succeed(limit, CLEAN_BATCHES)
    assert limit.items == 16
    limit.ran_out(16)
    succeed(limit, CLEAN_BATCHES)
    assert limit.items == 8
    succeed(limit, CLEAN_BATCHES)
    assert limit.items == 16


def test_falling_through_several_sizes_at_once_is_one_lesson() -> None:
    limit = BatchLimit(16, powers_of_two(16))
    for _ in range(3):
        limit.ran_out(limit.items)
    assert limit.items == 2
    succeed(limit, CLEAN_BATCHES)
    assert limit.items == 4


@given(
    st.integers(1, 64),
    st.lists(st.integers(1, 64), max_size=5),
    st.lists(st.tuples(st.booleans(), st.integers(1, 64)), max_size=300),
)
def test_the_limit_stays_between_one_and_the_most_and_is_a_size(
    most: int, sizes: list[int], events: list[tuple[bool, int]]
) -> None:
    shapes = BatchShapes(sizes).within(most)
    limit = BatchLimit(most, shapes)
    for ran_out, items in events:
        if ran_out:
            limit.ran_out(min(items, most))
        else:
            succeed(limit, items)
        assert 1 <= limit.items <= most
        assert not shapes.sizes or limit.items in shapes.sizes
