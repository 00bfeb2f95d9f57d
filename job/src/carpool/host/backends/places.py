"""Where a batch is while a device computes by itself: items and rows, there and in main memory.

What must stay true: nothing is allocated for a batch whose like has been here before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from carpool.vision.handler import FixedRows


class Place:
    """Where one batch is: its items on the device, its rows there and in main memory.

    Attributes:
        items: uint8 [n, *item_shape] on the device.
        uploaded, computed, downloaded: events of the batch that has this place.
    """

    def __init__(self, items: torch.Tensor, events: Sequence[Any]) -> None:
        self.items = items
        self.uploaded, self.computed, self.downloaded = events
        self._leaving: FixedRows | None = None
        self._arriving: FixedRows | None = None

    def leave(self, found: FixedRows) -> FixedRows:
        """Copy rows to where the device's next batch does not write (compute stream)."""
        if self._leaving is None or not _alike(found, self._leaving):
            self._leaving = self._room(found)
        return _copied(found, self._leaving)

    def arrive(self, left: FixedRows) -> FixedRows:
        """Copy them to main memory (download stream); complete when the stream has done it."""
        if self._arriving is None or not _alike(left, self._arriving):
            self._arriving = self._room(left, device="cpu", pin_memory=left.rows.is_cuda)
        return _copied(left, self._arriving)

    def _room(self, like: FixedRows, **options: Any) -> FixedRows:
        def room(tensor: torch.Tensor) -> torch.Tensor:
            shape = (len(self.items), *tensor.shape[1:])
            return torch.empty(shape, dtype=tensor.dtype, **({"device": tensor.device} | options))

        return FixedRows(room(like.rows), room(like.counts))


def _alike(found: FixedRows, room: FixedRows) -> bool:
    """Whether rows of any number of items, of this many rows each, have this room."""
    return bool(
        found.rows.shape[1:] == room.rows.shape[1:] and found.counts.dtype == room.counts.dtype
    )


def _copied(source: FixedRows, room: FixedRows) -> FixedRows:
    """Begin to copy into the first part of a larger room; that part."""
    count = len(source.rows)
    return FixedRows(
        room.rows[:count].copy_(source.rows, non_blocking=True),
        room.counts[:count].copy_(source.counts, non_blocking=True),
    )
