"""A work queue of keys: what is to be looked at, not what has happened.

* A key that waits is there once, however often it was added.
* One key is never worked on twice at once; added meanwhile, it waits until that work ends.
* A key may be added for later; the earliest time counts.
* A key whose work fails in a way that may pass is tried again, after delays that double up to a cap
  and differ at random, so that a thousand jobs that failed together do not come back together.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from carpool.errors import CarpoolError
from carpool_operator.errors import ApiError, Conflict, LeadershipLost
from carpool_operator.jitter import jittered
from carpool_operator.observability.metrics import (
    QUEUE_DEPTH,
    RECONCILE_ERRORS,
    RECONCILE_SECONDS,
)

log = logging.getLogger(__name__)

_STALE = 64

Work = Callable[[str], Awaitable[None]]


class WorkQueue:
    """Keys and the workers that take them; all methods are for the event loop's thread."""

    def __init__(
        self,
        work: Work,
        *,
        first_delay: float = 0.5,
        longest_delay: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty queue.

        Args:
            work: is called with a key; an error whose type is retryable, and an unforeseen one,
                is tried again, another CarpoolError is logged and left until the key is added.
            first_delay: seconds after the first failure in a row.
            longest_delay: seconds, the cap of the doubling.
            clock: in seconds, of the delays.
        """
        self._work = work
        self._first_delay, self._longest_delay = first_delay, longest_delay
        self._clock = clock
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._later: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        self._order = itertools.count()
        self._running: dict[str, float] = {}
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._available = asyncio.Semaphore(0)
        self._stopping = False
        self._resting = asyncio.Event()
        self._resting.set()
        QUEUE_DEPTH.set_function(lambda: len(self._ready))

    def add(self, key: str) -> None:
        """Look at it as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._running:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._available.release()

    def add_after(self, key: str, delay: float) -> None:
        """Look at it in so many seconds, unless it is looked at before."""
        if delay <= 0:
            self.add(key)
            return
        due = self._clock() + delay
        if key in self._ready or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        if len(self._later) > 2 * len(self._due) + _STALE:
            # Entries that an earlier time has overtaken; they would stay until they are due.
            self._later = [one for one in self._later if self._due.get(one[2]) == one[0]]
            heapq.heapify(self._later)
        self._wake.set()

    @property
    def depth(self) -> int:
        """Keys that wait to be looked at now."""
        return len(self._ready)

    def longest_running(self) -> float:
        """Seconds for which the longest piece of work has been running."""
        return max((self._clock() - begun for begun in self._running.values()), default=0.0)

    def next_due(self) -> float | None:
        """Time of the clock at which the next key that waits for later is due."""
        while self._later and self._due.get(self._later[0][2]) != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def promote(self) -> None:
        """Make ready what is due by now."""
        while (due := self.next_due()) is not None and due <= self._clock():
            self.add(heapq.heappop(self._later)[2])

    async def run(self, workers: int) -> None:
        """Work, with so many workers, until cancelled.

        Raises:
            LeadershipLost: nothing may be written any more.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_time())
            for _ in range(workers):
                group.create_task(self._worker())

    async def _keep_time(self) -> None:
        while True:
            self._wake.clear()
            self.promote()
            due = self.next_due()
            try:
                async with asyncio.timeout(None if due is None else due - self._clock()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def drain(self) -> None:
        """Begin nothing more, and wait for what is being worked on."""
        self._stopping = True
        await self._resting.wait()

    async def _worker(self) -> None:
        while True:
            await self.step()

    async def step(self) -> None:
        """Work on the next key, and see to what follows from the result."""
        # Neither this nor work that finds nothing to write waits for anything: without a turn for
        # others a thousand such keys would hold up the whole process, renewals included.
        await asyncio.sleep(0)
        await self._available.acquire()
        if self._stopping:
            return
        key, _ = self._ready.popitem(last=False)
        begun = self._running[key] = self._clock()
        self._resting.clear()
        try:
            await self._work(key)
        except LeadershipLost:
            raise
        except CarpoolError as error:
            self._failed(key, error)
        except Exception:
            # A bug for this key must not keep others waiting.
            RECONCILE_ERRORS.labels("Unforeseen").inc()
            delay = self._retry(key)
            log.exception("Reconciling failed", extra={"key": key, "retry_s": round(delay, 1)})
        else:
            self._failures.pop(key, None)
        finally:
            del self._running[key]
            if not self._running:
                self._resting.set()
            RECONCILE_SECONDS.observe(self._clock() - begun)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    def _failed(self, key: str, error: CarpoolError) -> None:
        RECONCILE_ERRORS.labels(error.reason).inc()
        told = {"key": key, "reason": error.reason, "error": str(error)}
        if not error.retryable:
            log.error("Reconciling failed for good", extra=told)
            return
        after = error.retry_after if isinstance(error, ApiError) else None
        delay = self._retry(key, at_least=after or 0.0)
        # Of a conflict nobody need know: something newer is on the way, as when users edit a job.
        level = logging.INFO if isinstance(error, Conflict) else logging.WARNING
        log.log(level, "Reconciling failed", extra=told | {"retry_s": round(delay, 1)})

    def _retry(self, key: str, at_least: float = 0.0) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        # Bounded before it is computed: 2 ** 2000 is no float.
        delay = min(self._longest_delay, self._first_delay * 2.0 ** min(failures - 1, 40))
        delay = max(at_least, jittered(delay * 0.75, 1 / 3))
        self.add_after(key, delay)
        return delay
