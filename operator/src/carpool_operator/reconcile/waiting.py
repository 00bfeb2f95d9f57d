"""Looks at waiting jobs again when there may be room for one, at most so often.

Ten thousand pods that end are ten thousand changes of what is free; the jobs that wait are looked
at once for all of them. The oldest, who are likely to get the room, are looked at soon; all of
them only so often that a thousand who wait do not keep the process busy with looking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

_PAUSE = 0.2
"""Seconds in which changes are gathered."""
_SOON = 8
"""Jobs that are looked at for each change."""
_PER_JOB = 0.01
"""Seconds between looks at all, for each of them: a look takes about a quarter of it."""


class WakeWaiting:
    """Gathers changes, then adds those who wait."""

    def __init__(self, waiting: Callable[[], Sequence[str]], add: Callable[[str], None]) -> None:
        """Add the keys that `waiting` gives, in its order, with `add`."""
        self._waiting = waiting
        self._add = add
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """There may be room."""
        self._changed.set()

    async def run(self) -> None:
        """Add keys until cancelled."""
        all_at = time.monotonic()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_PAUSE)
            self._changed.clear()
            waiting = self._waiting()
            for key in waiting[:_SOON]:
                self._add(key)
            rest = waiting[_SOON:]
            if not rest:
                continue
            if time.monotonic() >= all_at:
                for key in rest:
                    self._add(key)
                all_at = time.monotonic() + _PER_JOB * len(rest)
            else:
                self._later(all_at)

    def _later(self, at: float) -> None:
        """Look at all at that time, though nothing else may change until then."""
        asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self.wake)
