"""Which descriptors are ready, and what is to be done about each: epoll(7), and nothing around it.

The standard library's selectors make objects of every event, which costs more than the rest of the
event loop's turn. What must stay true: a reaction may be called once more after its descriptor was
forgotten, by another reaction of the same turn; it has to bear that.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

Reaction = Callable[[float], None]
"""Called with the time of the turn: seconds, monotonic."""


class HasDescriptor(Protocol):
    """A socket, for example."""

    def fileno(self) -> int:
        """Give the descriptor."""


class Poller:
    """Reactions to descriptors. One thread's own."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._reactions: dict[int, Reaction] = {}

    def __contains__(self, one: HasDescriptor) -> bool:
        return one.fileno() in self._reactions

    def watch(self, one: HasDescriptor, react: Reaction, *, edge: bool = False) -> None:
        """React whenever it is readable, or at its end.

        Args:
            one: has a descriptor.
            react: to be called.
            edge: once each time it becomes so, whether or not it is read from.
        """
        self._reactions[one.fileno()] = react
        self._epoll.register(one.fileno(), select.EPOLLIN | (select.EPOLLET if edge else 0))

    def await_room(self, one: HasDescriptor) -> None:
        """From now on call its reaction when it can be written to, or at its end."""
        self._epoll.modify(one.fileno(), select.EPOLLOUT)

    def await_data(self, one: HasDescriptor) -> None:
        """Turn back to what `watch` began."""
        self._epoll.modify(one.fileno(), select.EPOLLIN)

    def forget(self, one: HasDescriptor) -> None:
        """No longer react; to be called before it is closed."""
        del self._reactions[one.fileno()]
        self._epoll.unregister(one.fileno())

    def wait(self, seconds: float) -> list[Reaction]:
        """Sleep until something is ready, for at most so long, and give what is to be called."""
        return [self._reactions[ready] for ready, _ in self._epoll.poll(seconds)]

    def close(self) -> None:
        """Give epoll's own descriptor back."""
        self._epoll.close()
