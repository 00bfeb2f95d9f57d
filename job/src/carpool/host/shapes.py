"""Which sizes of batch the device computes: all, or a few to which the others are padded. Pure.

A device that compiles a program or captures a graph for a shape wants few shapes, and a result that
must not depend on its companions wants one. Padding is paid for like real items, so a batch that
lies between two sizes is either cut down to the smaller or padded to the larger, whichever gives
more items in the device's time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence


class BatchShapes:
    """The sizes that batches are padded to.

    Attributes:
        sizes: in ascending order; none where every size is computed as it is.
    """

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        """Take the sizes, in any order; a batch larger than all of them is not padded."""
        self.sizes = tuple(sorted(set(sizes)))

    def padded(self, items: int) -> int:
        """Items that the device computes for a batch of so many."""
        index = bisect_left(self.sizes, items)
        return self.sizes[index] if index < len(self.sizes) else items

    def floor(self, items: int) -> int:
        """The largest size that does not exceed `items`; the smallest size where all do."""
        if not self.sizes:
            return items
        return self.sizes[max(0, bisect_right(self.sizes, items) - 1)]

    def fill(self, items: int, seconds: Callable[[int], float]) -> int:
        """How many of the waiting items the next batch should take.

        Args:
            items: that wait and would fit, at least 1.
            seconds: the device's time for a batch, by the items that it computes.
        """
        whole = self.floor(items)
        if whole >= items or self.padded(items) == items:
            return items
        # whole / t(whole) > items / t(padded), without dividing by a time that may be zero.
        if whole * seconds(self.padded(items)) > items * seconds(whole):
            return whole
        return items

    def within(self, most: int) -> BatchShapes:
        """The sizes up to `most`, and `most` itself where sizes are padded to at all."""
        if not self.sizes:
            return self
        return BatchShapes([size for size in self.sizes if size < most] + [most])


def powers_of_two(most: int) -> BatchShapes:
    """1, 2, 4 … and `most`."""
    return BatchShapes([1 << power for power in range((most - 1).bit_length())] + [most])
