"""Carries out what the allocator decides: opens gates, and deletes what must go.

One loop decides and many writes are under way; it wakes when something changed and when the
allocator says that time alone changes something, and otherwise sleeps. A write that fails is taken
back from the allocator, which decides anew. Two leaders cannot both win: the patch tests the gate.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from carpool_operator.cluster.client import Client
from carpool_operator.cluster.resources import PODS
from carpool_operator.domain.allocation.commit import assignment_patch
from carpool_operator.domain.allocation.interface import Allocator, Assignment, Eviction
from carpool_operator.errors import ApiError, Conflict, NotFound
from carpool_operator.observability.metrics import (
    ASSIGNMENT_SECONDS,
    ASSIGNMENTS,
    DECISION_SECONDS,
    EVICTIONS,
)
from carpool_operator.reconcile.observations import PODS_WATCH, Observations

log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds after a failed deletion before the allocator is asked again."""


class Assignments:
    """The loop, and the writes under way."""

    def __init__(
        self,
        client: Client,
        observations: Observations,
        allocator: Allocator,
        *,
        epoch: Callable[[], int],
        in_flight: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a loop.

        Args:
            client: whose writes leadership guards.
            observations: are told of the answers.
            allocator: that decides.
            epoch: which leader this is.
            in_flight: the most writes at once.
            clock: Unix time.
        """
        self._client = client
        self._observations = observations
        self._allocator = allocator
        self._epoch = epoch
        self._in_flight = in_flight
        self._clock = clock
        self._changed = asyncio.Event()
        self._writes: set[asyncio.Task[None]] = set()
        self._evicted: set[str] = set()
        self._stopping = False

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()

    async def drain(self) -> None:
        """Decide nothing more, and wait for the writes under way."""
        self._stopping = True
        if self._writes:
            await asyncio.wait(self._writes)

    async def run(self) -> None:
        """Decide and write until cancelled.

        Raises:
            LeadershipLost: nothing may be written any more.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                await self._next()
                if self._stopping:
                    continue
                self._evict(group)
                self._assign(group)

    async def _next(self) -> None:
        """Wait until there may be something to decide, and room to write it."""
        now = self._clock()
        at = self._allocator.next_wakeup(now)
        try:
            async with asyncio.timeout(None if at is None else max(0.05, at - now)):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    def _assign(self, group: asyncio.TaskGroup) -> None:
        room = self._in_flight - len(self._writes)
        if room <= 0:
            return  # the end of a write wakes the loop
        begun = time.perf_counter()
        decided = self._allocator.assign(self._clock(), room)
        if decided:
            DECISION_SECONDS.observe((time.perf_counter() - begun) / len(decided))
        for assignment in decided:
            task = group.create_task(self._commit(assignment))
            self._writes.add(task)
            task.add_done_callback(self._ended)
        if len(decided) == room:
            self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if len(self._writes) == self._in_flight - 1:
            self._changed.set()

    async def _commit(self, assignment: Assignment) -> None:
        pod, now = assignment.pod, self._clock()
        about = {
            "pod": f"{pod.namespace}/{pod.name}",
            "node": assignment.slot.node,
            "gpu": assignment.slot.gpu,
        }
        patch = assignment_patch(assignment, self._epoch(), now)
        try:
            answer = await self._client.patch(PODS.path(pod.namespace, pod.name), patch)
        except ApiError as error:
            ASSIGNMENTS.labels(error.reason).inc()
            log.warning("Assignment was refused", extra=about | {"error": str(error)})
            self._allocator.refused(assignment, self._clock())
            self._changed.set()
            return
        except BaseException:
            self._allocator.refused(assignment, self._clock())
            raise
        ASSIGNMENTS.labels("written").inc()
        ASSIGNMENT_SECONDS.observe(max(0.0, now - pod.created))
        self._observations.seen(PODS_WATCH, answer)
        log.info("Assigned executor", extra=about)

    def _evict(self, group: asyncio.TaskGroup) -> None:
        evictions = self._allocator.evictions(self._clock())
        self._evicted &= {eviction.pod.uid for eviction in evictions}
        for eviction in evictions:
            if eviction.pod.uid not in self._evicted:
                self._evicted.add(eviction.pod.uid)
                group.create_task(self._delete(eviction))

    async def _delete(self, eviction: Eviction) -> None:
        pod = eviction.pod
        about = {"pod": f"{pod.namespace}/{pod.name}", "reason": eviction.reason}
        try:
            await self._client.delete(PODS.path(pod.namespace, pod.name), uid=pod.uid)
        except (NotFound, Conflict):
            return  # it is gone, or another has its name
        except ApiError as error:
            log.warning("Could not delete pod", extra=about | {"error": str(error)})
            await asyncio.sleep(_RETRY)
            self._evicted.discard(pod.uid)
            self._changed.set()
            return
        EVICTIONS.labels(eviction.reason).inc()
        log.info("Deleted executor", extra=about | {"why": eviction.message})
