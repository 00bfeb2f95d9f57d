"""Arm (d): the task is a client of Carpool's model host, as a task of a job is.

A chunk goes out in as many requests as slots need, and the next chunk follows as far as the credits
reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.host.hosts import Serving
from benchmarks.sharing.tasks import Chunk
from carpool.errors import CarpoolError
from carpool.host.backends.base import OutOfMemory
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.vision.handler import Rows

_LACKS_MEMORY = re.compile(r"share of |does not fit the device")


@dataclass(slots=True)
class _Asked:
    chunk: Chunk
    rows: list[Rows] = field(default_factory=list)


class CarpoolClient:
    """Asks the host.

    Args:
        client: not connected yet.
        pool: frames as the host's handler takes them.
    """

    def __init__(self, client: HostClient, pool: NDArray[np.uint8]) -> None:
        self._client, self._pool = client, pool

    def connect(self) -> None:
        """Wait until the host has loaded the model."""
        self._client.release(self._client.acquire())

    def answers(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Rows]]]:
        """As `Way`."""
        for chunk in chunks:
            asked, sent = _Asked(chunk), 0
            while sent < chunk.items:
                slot = self._client.acquire()
                count = min(len(slot.items), chunk.items - sent)
                first = chunk.first + sent
                slot.items[:count] = self._pool[first : first + count]
                self._client.submit(slot, count, asked)
                sent += count
                for done in self._client.completed():
                    yield from _take(done)
        for done in self._client.drain():
            yield from _take(done)

    def facts(self) -> dict[str, Any]:
        """As `Way`; loads are counted by the host's id and generation."""
        client = self._client
        return {"model": (client.host_id, client.generation), **client.model}


def _take(done: Completed) -> Iterator[tuple[Chunk, list[Rows]]]:
    asked: _Asked = done.tag
    for rows in done.rows:
        if isinstance(rows, ItemFailure):
            raise rows.error()
        asked.rows.append(rows)
    if len(asked.rows) == asked.chunk.items:
        yield asked.chunk, asked.rows


@contextmanager
def carpool_client(host: Serving, pool: NDArray[np.uint8]) -> Iterator[CarpoolClient]:
    """A client whose host has loaded the model."""
    with host.client() as client:
        way = CarpoolClient(client, pool)
        try:
            way.connect()
        except CarpoolError as error:
            # The host tries its batches before it says that it is ready.
            if _LACKS_MEMORY.search(str(error)):
                raise OutOfMemory(str(error)) from error
            raise
        yield way
