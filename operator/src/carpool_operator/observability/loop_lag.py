"""How late the event loop comes back to a task: while it is late, nothing else happens either."""

from __future__ import annotations

import asyncio
import time

from carpool_operator.observability.metrics import LOOP_LAG

_INTERVAL = 0.1


async def measure_lag() -> None:
    """Measure until cancelled."""
    while True:
        asked = time.monotonic() + _INTERVAL
        await asyncio.sleep(_INTERVAL)
        LOOP_LAG.observe(max(0.0, time.monotonic() - asked))
