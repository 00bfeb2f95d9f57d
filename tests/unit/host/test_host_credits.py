from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.host.credits import MOST_SLOTS, RequestShape, grant_credits, request_shape

SHAPES = st.builds(RequestShape, st.integers(1, 20), st.integers(1, 16))


@settings(max_examples=50)
@given(
    st.integers(1, 40_000_000),
    st.integers(1, 512),
    st.integers(1, 300),
    st.integers(1 << 20, 8 << 30),
)
def test_an_arena_has_room_to_decode_while_waiting(
    item_bytes: int, max_batch: int, clients: int, arena_bytes: int
) -> None:
    shape = request_shape(
        item_bytes,
        max_batch,
        clients,
        request_items=16,
        request_bytes=8 << 20,
        arena_bytes=arena_bytes,
    )
    assert 2 <= shape.slots <= MOST_SLOTS
    assert 1 <= shape.items <= 16
    assert shape.items == 1 or shape.items * item_bytes <= 8 << 20
    total = clients * shape.slots * shape.items * item_bytes
    assert total <= arena_bytes or (shape.slots, shape.items) == (2, 1)


def test_all_arenas_together_hold_three_batches() -> None:
    for clients in (1, 3, 16):
        shape = request_shape(
            519_168, 64, clients, request_items=16, request_bytes=8 << 20, arena_bytes=2 << 30
        )
        assert clients * shape.slots * shape.items >= 3 * 64


@settings(max_examples=50)
@given(st.integers(1, 256), st.dictionaries(st.integers(0, 500), SHAPES, min_size=1, max_size=40))
def test_credits_keep_the_device_busy_and_the_client_decoding(
    max_batch: int, arenas: dict[int, RequestShape]
) -> None:
    grants = grant_credits(max_batch, arenas)
    assert grants.keys() == arenas.keys()
    for client, granted in grants.items():
        shape = arenas[client]
        assert granted % shape.items == 0
        assert min(2, shape.slots) * shape.items <= granted <= shape.slots * shape.items
    held = sum(shape.slots * shape.items for shape in arenas.values())
    assert sum(grants.values()) >= min(3 * max_batch, held)


def test_nobody_connected_needs_nothing() -> None:
    assert grant_credits(8, {}) == {}
