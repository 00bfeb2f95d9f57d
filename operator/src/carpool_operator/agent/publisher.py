"""Writes the GPUNode of one node, and makes it where there is none.

It belongs to its Node: the API server removes it with the node. Each write says every field that is
the agent's, as null where there is nothing to say, so nothing is read first and nothing of an
earlier report stays, while what the operator writes beside them does; server-side apply would leave
devices that somebody else has put into the list.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from carpool.spec import API_VERSION, GPU_NODE_KIND
from carpool_operator.agent.metrics import REPORTS
from carpool_operator.agent.report import Cadence, Report, next_write
from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.resources import GPU_NODES, NODES
from carpool_operator.errors import AlreadyExists, ApiError, NotFound
from carpool_operator.jitter import jittered

log = logging.getLogger(__name__)

FIELD_MANAGER: Final = "carpool-agent"
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Offer:
    report: Report
    seen_at: float


class Publisher:
    """What was last said of the node, and when it is said again."""

    def __init__(
        self,
        client: Client,
        node: str,
        cadence: Cadence,
        removed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Say nothing yet.

        Args:
            client: whose field manager is FIELD_MANAGER.
            node: name of the node.
            cadence: how often is written.
            removed: called when somebody has removed the GPUNode, before it is made anew; it may
                offer another report.
            clock: seconds, monotonic.
            wall_clock: Unix time.
        """
        self._client = client
        self._node = node
        self._cadence = cadence
        self._removed = removed
        self._clock = clock
        self._wall_clock = wall_clock
        self._offer: _Offer | None = None
        self._offered = asyncio.Event()
        self._written: Report | None = None
        self._written_at = clock()
        self._heartbeat = jittered(cadence.heartbeat)
        self._failures = 0
        self._not_before = self._written_at

    @property
    def has_written(self) -> bool:
        """Whether a report was accepted."""
        return self._written is not None

    @property
    def silence(self) -> float:
        """Seconds since a report was accepted, or since the start."""
        return self._clock() - self._written_at

    async def read(self) -> Json | None:
        """The status that stands in the GPUNode, tried until there is an answer; None: none."""
        while True:
            try:
                status = (await self._client.get(GPU_NODES.path(name=self._node))).get("status")
            except NotFound:
                return None
            except ApiError as error:
                await asyncio.sleep(self._failed(error))
            else:
                self._failures = 0
                return status

    def offer(self, report: Report) -> None:
        """Have a report written, which was seen to be true just now."""
        self._offer = _Offer(report, self._wall_clock())
        self._offered.set()

    async def run(self) -> None:
        """Write what is offered, until cancelled."""
        while True:
            await self._due()
            offer = self._offer
            assert offer is not None  # noqa: S101 - it is due
            try:
                await self._write(offer)
            except ApiError as error:
                self._not_before = self._clock() + self._failed(error)
            else:
                REPORTS.labels("written").inc()
                self._written, self._written_at = offer.report, self._clock()
                self._heartbeat = jittered(self._cadence.heartbeat)
                self._not_before = self._written_at
                self._failures = 0

    async def _due(self) -> None:
        """Wait until something is to be written."""
        while True:
            self._offered.clear()
            wait: float | None = None
            if self._offer is not None:
                due = next_write(
                    self._offer.report,
                    self._written,
                    self._written_at,
                    self._heartbeat,
                    self._cadence,
                )
                wait = max(due, self._not_before) - self._clock()
                if wait <= 0:
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._offered.wait()

    async def _write(self, offer: _Offer) -> None:
        try:
            await self._put(offer)
        except NotFound:
            if self._written is not None:
                log.info("The GPUNode was removed", extra={"node": self._node})
                self._written = None
                self._removed()
            await self._create()
            await self._put(self._offer or offer)

    async def _put(self, offer: _Offer) -> None:
        status = offer.report.status(offer.seen_at)
        await self._client.merge(
            GPU_NODES.path(name=self._node, subresource="status"), {"status": status}
        )

    async def _create(self) -> None:
        node = await self._client.get(NODES.path(name=self._node))
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self._node,
            "uid": node["metadata"]["uid"],
        }
        with suppress(AlreadyExists):
            await self._client.create(
                GPU_NODES.path(),
                {
                    "apiVersion": API_VERSION,
                    "kind": GPU_NODE_KIND,
                    "metadata": {"name": self._node, "ownerReferences": [owner]},
                },
            )
            log.info("Made the GPUNode", extra={"node": self._node})

    def _failed(self, error: ApiError) -> float:
        """Note a failure; returns the seconds to wait."""
        REPORTS.labels(type(error).__name__).inc()
        if not self._failures:
            log.warning(
                "The GPUNode cannot be read or written",
                extra={"node": self._node, "error": str(error)},
            )
        wait = min(_FIRST_WAIT * 2**self._failures, _LONGEST_WAIT)
        self._failures = min(self._failures + 1, 16)
        return jittered(max(wait, error.retry_after or 0.0))
