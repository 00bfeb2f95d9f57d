"""Posts events (events.k8s.io/v1) about jobs, for `kubectl describe`.

An event is a courtesy: nothing waits for it, and one that cannot be posted is logged and forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Literal

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.resources import EVENTS
from carpool_operator.errors import ApiError

log = logging.getLogger(__name__)

_CONTROLLER = "carpool.dev/operator"
_LONGEST_NOTE = 1024
"""Characters; the API server refuses more."""
_MOST_PENDING = 2000
_AT_ONCE = 4


class EventPoster:
    """Posts events as one replica."""

    def __init__(self, client: Client, identity: str) -> None:
        """Post as the replica `identity`."""
        self._client = client
        self._identity = identity[:128]
        self._pending: deque[Json] = deque(maxlen=_MOST_PENDING)
        self._waiting = asyncio.Semaphore(0)

    def post(
        self, about: Json, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Have an event posted about an object, which is given as it was read."""
        metadata = about["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": f"{name[:230]}.{uuid.uuid4().hex[:16]}"},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": kind,
            "reason": reason,
            "action": "Reconciling",
            "note": message[:_LONGEST_NOTE],
            "reportingController": _CONTROLLER,
            "reportingInstance": self._identity,
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": namespace,
                "name": name,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }
        if len(self._pending) == self._pending.maxlen:
            log.warning("Dropped the oldest event, since too many wait to be posted")
        self._pending.append(event)
        self._waiting.release()

    async def run(self) -> None:
        """Post, a few at a time, until cancelled.

        Raises:
            LeadershipLost: nothing may be written any more.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._waiting.acquire()
            if self._pending:
                await self._send(self._pending.popleft())

    async def _send(self, event: Json) -> None:
        namespace = event["metadata"]["namespace"]
        try:
            await self._client.create(EVENTS.path(namespace), event)
        except ApiError as error:
            log.warning(
                "Could not post an event",
                extra={
                    "job": f"{namespace}/{event['regarding']['name']}",
                    "reason": event["reason"],
                    "error": str(error),
                },
            )
