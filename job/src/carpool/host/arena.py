"""Shared memory of one client: its slots, each with the items of a request and their results.

The client makes the arena (a sealed memfd: it can neither shrink nor grow, so a mapping never turns
into SIGBUS), the host maps the same memory. What must stay true: every byte has one writer at a
time. The client writes items and takes rows of a slot that it holds; between SUBMIT and DONE the
slot is the host's. The order is that of the socket's messages, so no atomics are needed. The host
commits all pages before it says READY, and the client touches none before: memory is charged to
the container that touches it first.

A slot, page aligned:  items [n, *shape] | page | state, counts int32 [n], rows [n, k, w].
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import ProtocolError

_PAGE = mmap.PAGESIZE
_LINE = 64
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class SlotState(IntEnum):
    """What the host did with a slot, as the memory remembers after the host's death."""

    QUEUED = 0
    """Submitted, not yet given to the device; written by the client before SUBMIT."""
    RUNNING = 1
    """In the batch that the device works on (or the next, already staged); written by the host."""
    ANSWERED = 2
    """Results are complete; written by the host before DONE."""


@dataclass(frozen=True, slots=True)
class SlotFormat:
    """Shape of one item and of its results.

    Attributes:
        item_shape: of one item, for example (height, width, channels).
        item_dtype: numpy name of the items' type.
        output_rows: most rows of one item's result.
        row_width: columns of a row.
        row_dtype: numpy name of the rows' type.
    """

    item_shape: tuple[int, ...]
    output_rows: int
    row_width: int
    item_dtype: str = "uint8"
    row_dtype: str = "float32"

    @property
    def item_bytes(self) -> int:
        """Bytes of one item."""
        return prod(self.item_shape) * np.dtype(self.item_dtype).itemsize

    @property
    def result_bytes(self) -> int:
        """Bytes that one item's rows may take."""
        return self.output_rows * self.row_width * np.dtype(self.row_dtype).itemsize

    @property
    def slot_item_bytes(self) -> int:
        """Bytes of one item and its rows."""
        return self.item_bytes + self.result_bytes


@dataclass(frozen=True)
class ArenaLayout:
    """Where everything is in an arena of `slots` slots for up to `items` items each."""

    format: SlotFormat
    slots: int
    items: int

    @cached_property
    def output_offset(self) -> int:
        """Bytes from a slot's begin to its output region."""
        return _up(self.items * self.format.item_bytes, _PAGE)

    @cached_property
    def rows_offset(self) -> int:
        """Bytes from a slot's begin to its rows."""
        return self.output_offset + _LINE + _up(4 * self.items, _LINE)

    @cached_property
    def slot_bytes(self) -> int:
        """Bytes from one slot to the next."""
        return _up(self.rows_offset + self.items * self.format.result_bytes, _PAGE)

    @property
    def size(self) -> int:
        """Bytes of the arena."""
        return self.slots * self.slot_bytes


class Arena:
    """One mapping of an arena's memory, seen as arrays. The first axis is always the slot.

    Attributes:
        layout: where everything is.
        memory: uint8 [size], all of it.
        items: [slots, items, *item_shape] of the item type.
        states: int32 [slots], see `SlotState`.
        counts: int32 [slots, items], rows of each item's result.
        rows: [slots, items, output_rows, row_width] of the row type.
    """

    def __init__(self, descriptor: int, layout: ArenaLayout) -> None:
        self.layout = layout
        memory = mmap.mmap(descriptor, layout.size)
        self.memory = np.frombuffer(memory, np.uint8)
        slots, items, form = layout.slots, layout.items, layout.format

        def view(dtype: Any, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
            size = np.dtype(dtype).itemsize
            inner = (size * prod(shape[axis + 1 :]) for axis in range(1, len(shape)))
            strides = (layout.slot_bytes, *inner)
            return np.ndarray(shape, dtype, buffer=self.memory, offset=offset, strides=strides)

        # The arrays hold the mapping: it goes away with the last of them, never under one in use.
        self.items = view(form.item_dtype, (slots, items, *form.item_shape), 0)
        self.states: NDArray[np.int32] = view(np.int32, (slots,), layout.output_offset)
        self.counts: NDArray[np.int32] = view(
            np.int32, (slots, items), layout.output_offset + _LINE
        )
        self.rows = view(
            form.row_dtype, (slots, items, form.output_rows, form.row_width), layout.rows_offset
        )


def create_arena(layout: ArenaLayout) -> tuple[Arena, int]:
    """Make an arena (client).

    Returns:
        The mapping, no page of it touched, and the file descriptor to send; the caller closes it.
    """
    descriptor = os.memfd_create("carpool-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, layout.size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return Arena(descriptor, layout), descriptor
    except BaseException:
        os.close(descriptor)
        raise


def adopt_arena(descriptor: int, layout: ArenaLayout) -> Arena:
    """Map an arena that a client made, and commit its memory here (host).

    `posix_fallocate` charges every page to this process's container, and reports that there is no
    memory as an error where touching the pages would be a SIGBUS.

    Args:
        descriptor: the memfd; the caller closes it.
        layout: what the client says it is.

    Raises:
        ProtocolError: it is not a sealed memfd of that size.
        OSError: the memory cannot be had.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError(f"the arena is no memfd: {error}") from error
    if seals & _SEALS != _SEALS:
        raise ProtocolError(
            f"the arena has seals {seals:#x}, expected {_SEALS:#x}: it could shrink"
        )
    found = os.fstat(descriptor).st_size
    if found != layout.size:
        raise ProtocolError(f"the arena has {found} bytes, its layout needs {layout.size}")
    os.posix_fallocate(descriptor, 0, layout.size)
    return Arena(descriptor, layout)


def _up(value: int, to: int) -> int:
    return -(-value // to) * to
