"""When the supervisor starts the next child, and when it gives up. Pure.

A host that served for a while and died is started at once. One that dies again and again waits
1, 2, 4 … 30 s between starts, so that a broken device is not hammered; kubelet's own back-off
would make every client wait up to five minutes. A host that dies time and again without ever
becoming ready will not: waiting tasks are better told.
"""

from __future__ import annotations

LONGEST_DELAY = 30.0
"""Seconds."""
HEALTHY_SECONDS = 60.0
"""A child that was ready for so long starts the count anew."""
MOST_FAILED_STARTS = 5
"""So many children in a row that never became ready are the end."""


class RestartPolicy:
    """Counts deaths.

    Attributes:
        failed_starts: children in a row that never became ready.
    """

    def __init__(self) -> None:
        self.failed_starts = 0
        self._deaths = 0

    def died(self, ready_seconds: float | None) -> float | None:
        """A child ended that should not have.

        Args:
            ready_seconds: how long it had been ready; None if it never was.

        Returns:
            Seconds until the next start; None to give up.
        """
        if ready_seconds is None:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS:
                return None
        else:
            self.failed_starts = 0
            if ready_seconds >= HEALTHY_SECONDS:
                self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return min(LONGEST_DELAY, 2.0 ** min(self._deaths - 2, 16))
