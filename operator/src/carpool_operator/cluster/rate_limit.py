"""A client's own limit of requests: a token bucket, which a server's "come back later" empties."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimit:
    """At most `rate` requests a second in the long run, `burst` at once; first come, first served.

    Without it a thousand jobs applied at once would be a thousand requests at once, and the API
    server's own fairness would hold back whoever else is of the same priority.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with a full bucket; `clock` and `sleep` are in seconds."""
        self._interval = 1 / rate
        self._credit = burst * self._interval
        self._clock = clock
        self._sleep = sleep
        # The time at which the bucket will be full again (virtual scheduling).
        self._full_at = clock()

    async def take(self) -> None:
        """Wait for a turn."""
        now = self._clock()
        self._full_at = max(self._full_at, now) + self._interval
        wait = self._full_at - self._credit - now
        if wait > 0:
            await self._sleep(wait)

    def pause(self, seconds: float) -> None:
        """Let nobody take a turn for so long, but those who have theirs."""
        self._full_at = max(self._full_at, self._clock() + seconds + self._credit)
