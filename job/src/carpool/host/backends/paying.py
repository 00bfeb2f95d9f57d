"""Which batch is worth its latency, by the time of its items. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from carpool.host.backends.base import OutOfMemory

_PAYS = 0.99
"""A larger batch is worth its latency if an item of it takes at most so much of the time."""


def paying_size(sizes: Sequence[int], item_seconds: Callable[[int], float]) -> int:
    """The smallest size whose items take hardly longer than those of larger ones.

    Args:
        sizes: in ascending order.
        item_seconds: the device's time for an item in a batch of so many; asked of the largest
            first, and no further than it pays. It may raise OutOfMemory: that size is not chosen.

    Returns:
        One of the sizes; the smallest where none could be run.
    """
    chosen, best = sizes[0], math.inf
    for size in reversed(sizes):
        try:
            seconds = item_seconds(size)
        except OutOfMemory:
            continue
        if _PAYS * seconds > best:
            break  # smaller ones pay even less, and each costs time to be tuned
        chosen, best = size, min(best, seconds)
    return chosen
