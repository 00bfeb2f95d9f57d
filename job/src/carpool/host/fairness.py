"""Who is next: the order in which queued requests of many clients fill a batch. Pure.

A policy is a class with the methods of `RequestQueue`; the batcher holds one per key. What must
stay true for all of them: requests of one client keep their order, and no client waits for ever.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Waiting:
    """What one client has queued.

    Attributes:
        parts: in the client's order.
        deficit: items the client may still send in this visit, what it saved up included.
        visited: whether it is this client's turn, so that its quantum is in the deficit already.
    """

    parts: deque[Part] = field(default_factory=deque)
    deficit: int = 0
    visited: bool = False


class DeficitRoundRobin:
    """Equal items for all clients that wait, however large their requests are.

    Each visit lets a client send a quantum of items, and what it cannot use because its next
    request is larger it saves for the next visit: Shreedhar and Varghese, "Efficient fair queueing
    using deficit round-robin", SIGCOMM 1995. The quantum is the largest request seen, so that every
    visit sends at least one. A request cut by the end of a batch goes first in the next.
    """

    def __init__(self) -> None:
        self.items = 0
        self._quantum = 1
        self._clients: OrderedDict[int, _Waiting] = OrderedDict()

    def push(self, part: Part) -> None:
        """Queue a part behind its client's others; a client that had none joins at the end."""
        client, items = part.request.client, part.items
        if client not in self._clients:
            self._clients[client] = _Waiting()
        self._clients[client].parts.append(part)
        self._quantum = max(self._quantum, items)
        self.items += items

    def take(self, room: int) -> list[Part]:
        """Remove up to `room` items, client after client."""
        taken: list[Part] = []
        while room and self._clients:
            client, waiting = next(iter(self._clients.items()))
            if not waiting.visited:
                waiting.visited = True
                waiting.deficit += self._quantum
            items = waiting.parts[0].items
            if items > waiting.deficit:
                waiting.visited = False
                self._clients.move_to_end(client)
                continue
            part = waiting.parts.popleft()
            if items > room:
                part, rest = part.split(room)
                waiting.parts.appendleft(rest)
                items = room
            taken.append(part)
            room -= items
            waiting.deficit -= items
            self.items -= items
            if not waiting.parts:
                del self._clients[client]
        return taken

    def drop(self, client: int) -> None:
        """Forget what a client has queued."""
        if waiting := self._clients.pop(client, None):
            self.items -= sum(part.items for part in waiting.parts)

    def oldest(self) -> float:
        """When the first of the waiting parts arrived; infinity where none waits."""
        firsts = (waiting.parts[0].request.arrived for waiting in self._clients.values())
        return min(firsts, default=float("inf"))
