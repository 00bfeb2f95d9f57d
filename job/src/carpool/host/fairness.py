"""Who is next: the order in which queued requests of many clients fill a batch. Pure.

A policy is a class with the methods of `RequestQueue`; the batcher holds one per key. What must
stay true for all of them: requests of one client keep their order, and no client waits for ever.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from carpool.host.work import Part


class RequestQueue(Protocol):
    """Parts that wait for the device."""

    items: int
    """Items that wait."""

    def push(self, part: Part) -> None:
        """Queue a part behind its client's others."""

    def take(self, room: int) -> list[Part]:
        """Remove up to `room` items; exactly `room` where so many wait, cutting the last part."""

    def drop(self, client: int) -> None:
        """Forget what a client has queued."""

    def oldest(self) -> float:
        """When the first of the waiting parts arrived; infinity where none waits."""


class RoundRobin:
    """One request a client and turn. A request cut by the end of a batch goes first in the next."""

    def __init__(self) -> None:
        self.items = 0
        self._clients: OrderedDict[int, deque[Part]] = OrderedDict()

    def push(self, part: Part) -> None:
        """Queue a part behind its client's others; a client that had none joins at the end."""
        self._clients.setdefault(part.request.client, deque()).append(part)
        self.items += part.items

    def take(self, room: int) -> list[Part]:
        """Remove up to `room` items, client after client."""
        taken: list[Part] = []
        while room and self._clients:
            client, parts = next(iter(self._clients.items()))
            part = parts.popleft()
            if part.items > room:
                part, rest = part.split(room)
                parts.appendleft(rest)
            elif parts:
                self._clients.move_to_end(client)
            else:
                del self._clients[client]
            taken.append(part)
            room -= part.items
            self.items -= part.items
        return taken

    def drop(self, client: int) -> None:
        """Forget what a client has queued."""
        for part in self._clients.pop(client, ()):
            self.items -= part.items

    def oldest(self) -> float:
        """When the first of the waiting parts arrived; infinity where none waits."""
        firsts = (parts[0].request.arrived for parts in self._clients.values())
        return min(firsts, default=float("inf"))
