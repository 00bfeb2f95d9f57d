"""Whether the operator is alive and ready, from signs of life of its parts.

A watch that is stalled looks like a quiet cluster. Each watch therefore notes when it last brought
anything; the API server sends a bookmark a minute where nothing happens, so an age of minutes means
that it is stalled. Readiness says so at once, liveness when it lasts: a restart makes new ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

from carpool_operator.observability.metrics import WATCH_AGE

_STALE = 180.0
_STALLED = 600.0


class WatchHealth:
    """Signs of life of all watches, by resource."""

    def __init__(
        self, resources: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Expect a watch of each resource from `begin` on; `clock` is in seconds."""
        self._clock = clock
        self._resources = tuple(resources)
        self._last: dict[str, float] = {}
        self._unsynced = set(self._resources)
        self._all_synced = asyncio.Event()

    def begin(self) -> None:
        """The watches begin now."""
        self._last = dict.fromkeys(self._resources, self._clock())
        for resource in self._resources:
            WATCH_AGE.labels(resource).set_function(partial(self.age, resource))

    def alive(self, resource: str) -> None:
        """Note that something came."""
        if resource in self._last:
            self._last[resource] = self._clock()

    def synced(self, resource: str) -> None:
        """Note that all objects that there were at the start have been taken in."""
        self._unsynced.discard(resource)
        if not self._unsynced:
            self._all_synced.set()

    async def wait_synced(self) -> None:
        """Wait until every watch has taken in what there was."""
        await self._all_synced.wait()

    def age(self, resource: str) -> float:
        """Seconds since something came."""
        return self._clock() - self._last[resource]

    def unready(self) -> list[str]:
        """Why what is known may not be what is; empty: all is well, or nothing is watched yet."""
        if not self._last:
            return []
        waiting = [f"{name}: not listed yet" for name in sorted(self._unsynced)]
        return waiting + self._older(_STALE)

    def dead(self) -> list[str]:
        """Which watches have been stalled for so long that only a restart helps."""
        return self._older(_STALLED)

    def _older(self, limit: float) -> list[str]:
        return [
            f"{name}: nothing for {self.age(name):.0f} s"
            for name in sorted(self._last)
            if self.age(name) > limit
        ]
