"""How much a client may have outstanding, and how large its arena is. Pure.

The device stays busy if about three batches are outstanding over all clients: one runs, one is
staged or gathers, one is being filled. Every client gets at least two requests where its arena
has two slots, because with one it could not decode while it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BATCHES_OUTSTANDING = 3
MOST_SLOTS = 64


@dataclass(frozen=True, slots=True)
class RequestShape:
    """An arena's shape: `slots` requests of up to `items` items."""

    slots: int
    items: int


def request_shape(
    item_bytes: int,
    max_batch: int,
    clients: int,
    *,
    request_items: int,
    request_bytes: int,
    arena_bytes: int,
) -> RequestShape:
    """Choose the arena that a client is told to make.

    Args:
        item_bytes: of one item.
        max_batch: the largest batch.
        clients: how many are expected.
        request_items: most items of a request.
        request_bytes: most bytes of a request.
        arena_bytes: bound for all arenas together; a client gets two slots of one item even where
            that does not fit, since with less nothing can be inferred.
    """
    share = max(1, arena_bytes // clients // item_bytes)
    items = max(1, min(request_items, request_bytes // item_bytes, share // 2))
    wanted = -(-BATCHES_OUTSTANDING * max_batch // (clients * items))
    return RequestShape(max(2, min(wanted, share // items, MOST_SLOTS)), items)


def grant_credits(max_batch: int, arenas: Mapping[int, RequestShape]) -> dict[int, int]:
    """Share three batches' worth of items among the clients that have an arena.

    Args:
        max_batch: the largest batch.
        arenas: the arena of each client.

    Returns:
        Items each client may have outstanding: whole requests, at least two where the arena has
        two slots, never more than the arena holds. Together they are ≥ 3 · `max_batch`, or all
        that the arenas hold.
    """
    left = BATCHES_OUTSTANDING * max_batch
    grants: dict[int, int] = {}
    # Smallest arena first: what one cannot take is left to those that can.
    by_size = sorted(arenas, key=lambda client: arenas[client].slots * arenas[client].items)
    for position, client in enumerate(by_size):
        shape = arenas[client]
        share = -(-max(left, 0) // (len(by_size) - position))
        requests = min(shape.slots, max(2, -(-share // shape.items)))
        grants[client] = requests * shape.items
        left -= grants[client]
    return grants
