"""Writes what is assigned of each node's GPUs into its GPUNode, for who looks at `kubectl get`.

Nothing decides by it, so it may be late and must not be in the way: changes are gathered for some
seconds, and a thousand nodes that change at once are written one after the other. A GPUNode that
says what is true is left alone, so nothing is written while nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from carpool_operator.cluster.client import Client
from carpool_operator.cluster.resources import GPU_NODES
from carpool_operator.domain.allocation.node_totals import NodeTotals
from carpool_operator.errors import ApiError, NotFound
from carpool_operator.reconcile.observations import GPU_NODES_WATCH, Observations

log = logging.getLogger(__name__)

_PAUSE: Final = 5.0
"""Seconds in which changes are gathered."""
_BETWEEN: Final = 0.05
"""Seconds between two writes."""
_RETRY: Final = 30.0
"""Seconds after writes that failed."""
_ANEW: Final = 300.0
"""Seconds after which all are compared though nothing has changed: others may have written."""


class GpuNodeStatus:
    """The loop that compares what is said with what is."""

    def __init__(
        self,
        client: Client,
        observations: Observations,
        totals: Callable[[], Mapping[str, NodeTotals]],
    ) -> None:
        """Make a loop.

        Args:
            client: whose writes leadership guards.
            observations: know what the GPUNodes say, and are told of the answers.
            totals: counts what is assigned.
        """
        self._client = client
        self._observations = observations
        self._totals = totals
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Something was assigned, has ended, or is said anew."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled.

        Raises:
            LeadershipLost: nothing may be written any more.
        """
        failed = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY if failed else _ANEW):
                    await self._changed.wait()
            await asyncio.sleep(_PAUSE)
            self._changed.clear()
            failed = await self._write_all()

    async def _write_all(self) -> bool:
        """Write what is not said yet; whether a write has failed."""
        failed = False
        for node, totals in self._totals().items():
            wanted = totals.status()
            if node in self._observations.assigned and (
                self._observations.assigned[node] != wanted
            ):
                failed |= not await self._write(node, wanted)
                await asyncio.sleep(_BETWEEN)
        return failed

    async def _write(self, node: str, wanted: Mapping[str, Any]) -> bool:
        path = GPU_NODES.path(name=node, subresource="status")
        try:
            answer = await self._client.merge(path, {"status": {"assigned": dict(wanted)}})
        except NotFound:
            return True  # its end is on its way to us
        except ApiError as error:
            log.info("Could not write a GPUNode", extra={"node": node, "error": str(error)})
            return False
        self._observations.seen(GPU_NODES_WATCH, answer)
        return True
