"""How large a batch may be after the device ran out of memory, and when it may grow again. Pure.

Memory that was short may have been short for a moment (another process, fragmentation), so the
limit recovers; it does so slowly and ever more slowly, since each try that fails costs everyone a
batch. What must stay true: the limit never exceeds what was proven when the model was loaded.
"""

from __future__ import annotations

from carpool.host.shapes import BatchShapes

CLEAN_BATCHES = 100
"""So many batches at the limit without running out of memory raise it by a step."""
_MOST_CLEAN_BATCHES = 100 << 7
_STEPS = 16
"""Without fixed sizes, a step is this part of the largest batch."""


class BatchLimit:
    """The most items of a batch, from batch to batch.

    Attributes:
        most: what the limit never exceeds.
        items: the limit now.
    """

    def __init__(self, most: int, shapes: BatchShapes) -> None:
        """Start at the most.

        Args:
            most: largest batch that is known to run.
            shapes: a limit between two of its sizes would buy nothing but padding.
        """
        self.most = most
        self.items = most
        self._shapes = shapes
        self._clean = 0
        self._wanted = CLEAN_BATCHES
        self._raised = False

    def ran_out(self, items: int) -> None:
        """A batch of so many items did not fit; the limit becomes half of it, if it was more."""
        if self._raised:  # too early
            self._raised = False
            self._wanted = min(2 * self._wanted, _MOST_CLEAN_BATCHES)
        half = self._shapes.floor(max(1, self._shapes.padded(items) // 2))
        self.items = min(self.items, half)
        self._clean = 0

    def succeeded(self, items: int) -> None:
        """A batch of so many items ran; only batches at the limit prove anything."""
        if self.items == self.most or items < self.items:
            return
        self._clean += 1
        if self._clean >= self._wanted:
            self._clean = 0
            self._raised = True
            self.items = min(self.most, self._next_size())

    def _next_size(self) -> int:
        if self._shapes.sizes:
            return self._shapes.padded(self.items + 1)
        return self.items + max(1, self.most // _STEPS)
