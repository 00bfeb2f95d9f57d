from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import ProtocolError
from carpool.host.arena import ArenaLayout, SlotFormat, SlotState, adopt_arena, create_arena

LAYOUT = ArenaLayout(SlotFormat((5, 7, 3), output_rows=4, row_width=6), slots=3, items=2)


@pytest.fixture
def memfd() -> Iterator[int]:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, LAYOUT.size)
    yield descriptor
    os.close(descriptor)


def resident_pages(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks // 8


def test_both_sides_see_the_same_memory() -> None:
    client, descriptor = create_arena(LAYOUT)
    host = adopt_arena(descriptor, LAYOUT)
    os.close(descriptor)
    for slot in range(LAYOUT.slots):
        client.items[slot] = slot + 1
        host.counts[slot] = 10 + slot
        host.rows[slot] = 100 + slot
        host.states[slot] = SlotState.ANSWERED
    for slot in range(LAYOUT.slots):
        assert (host.items[slot] == slot + 1).all()
        assert (client.counts[slot] == 10 + slot).all()
        assert (client.rows[slot] == 100 + slot).all()
    assert (client.states == SlotState.ANSWERED).all()


@settings(max_examples=30)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 20), st.integers(1, 7)
)
def test_no_two_arrays_share_a_byte(
    side: int, rows: int, slots: int, items: int, width: int
) -> None:
    layout = ArenaLayout(SlotFormat((side, side, 3), rows, width), slots, items)
    arena, descriptor = create_arena(layout)
    os.close(descriptor)
    everything = (arena.items, arena.states, arena.counts, arena.rows)
    for number, array in enumerate(everything, 1):
        array[...] = number
    for number, array in enumerate(everything, 1):
        assert (array == number).all()
    assert arena.items[0].flags.c_contiguous
    assert arena.rows[0].flags.c_contiguous
    assert arena.items.__array_interface__["data"][0] % 4096 == 0


def test_the_client_touches_no_page_and_the_host_commits_all() -> None:
    _, descriptor = create_arena(LAYOUT)
    try:
        assert resident_pages(descriptor) == 0
        adopt_arena(descriptor, LAYOUT)
        assert resident_pages(descriptor) * 4096 >= LAYOUT.size
    finally:
        os.close(descriptor)


def test_an_arena_can_neither_shrink_nor_grow() -> None:
    _, descriptor = create_arena(LAYOUT)
    try:
        for size in (LAYOUT.size - 4096, LAYOUT.size + 4096):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def test_the_host_refuses_memory_that_could_shrink(memfd: int) -> None:
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    with pytest.raises(ProtocolError, match="could shrink"):
        adopt_arena(memfd, LAYOUT)


def test_the_host_refuses_an_arena_of_another_size(memfd: int) -> None:
    seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    os.ftruncate(memfd, LAYOUT.size - 4096)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(ProtocolError, match=f"its layout needs {LAYOUT.size}"):
        adopt_arena(memfd, LAYOUT)


def test_the_host_refuses_what_is_no_memfd(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(ProtocolError, match="no memfd"):
            adopt_arena(descriptor, LAYOUT)
    finally:
        os.close(descriptor)


def test_a_view_keeps_the_memory_after_its_arena() -> None:
    arena, descriptor = create_arena(LAYOUT)
    os.close(descriptor)
    view = arena.items[1]
    view[:] = 9
    del arena
    assert np.all(view == 9)
