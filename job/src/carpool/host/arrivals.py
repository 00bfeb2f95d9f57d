"""How fast items are about to come: what each client has been seen to need for a request. Pure.

Clients are a closed loop: each may have so many items outstanding, and prepares its next request
only while it may have more. An average over time says little about the next few milliseconds; the
sum over the clients that are preparing at this moment does, and it also tells what will come once a
running batch gives its clients their credits back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_DECAY = 0.8
"""Weight of what was known about a client when it submits again: about five requests count."""
_REMEMBERED = 8
"""Requests of a client that tell how much of its window it uses."""
_LATE = 3.0
"""A client that takes so many times longer than usual is doing something else."""
_SHORTEST = 1e-5
"""Seconds; nobody prepares a request faster than the host reads it."""


@dataclass(slots=True)
class _Pace:
    """One client.

    Attributes:
        window: items it may have outstanding.
        outstanding: items that it has.
        reached: what it had outstanding after each of its last requests; empty before the first.
        answered: whether it ever got an answer.
        items: of a request, on average.
        seconds: for preparing a request, on average; 0 while none was seen.
        reach: items that it will have outstanding at most, by what it did so far. One that waits
            for each answer before it prepares another request uses no more of a window however
            large it is. Before the first answer nobody can tell.
        free_since: since when it can have been preparing; None while its window is full, and before
            its first request, which tells how long it took to start and not its pace.
    """

    window: int
    free_since: float | None = None
    outstanding: int = 0
    items: float = 1.0
    seconds: float = 0.0
    reached: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    answered: bool = False
    reach: int = 0

    def learn(self) -> None:
        """See how far it goes."""
        known = self.answered and self.reached
        self.reach = min(self.window, max(self.reached)) if known else self.window

    def rate(self) -> float:
        """Items per second while it prepares."""
        return self.items / self.seconds if self.seconds else 0.0


class Arrivals:
    """The pace of all clients."""

    def __init__(self) -> None:
        self._paces: dict[int, _Pace] = {}

    def admit(self, client: int, window: int, now: float) -> None:
        """A client may have so many items outstanding, from now on."""
        pace = self._paces.get(client)
        if pace is None:
            self._paces[client] = _Pace(window, reach=window)
        else:
            pace.window = window
            pace.learn()
            self._look(pace, now)

    def leave(self, client: int) -> None:
        """A client is gone."""
        self._paces.pop(client, None)

    def submitted(self, client: int, items: int, now: float) -> None:
        """A client sent a request of so many items."""
        pace = self._paces.get(client)
        if pace is None:
            return
        if pace.free_since is not None:
            seconds = max(_SHORTEST, now - pace.free_since)
            if not pace.seconds:
                pace.seconds, pace.items = seconds, items
            else:
                # One long pause (the end of a task, a slow disk) must not hide the usual pace.
                seconds = min(seconds, _LATE * pace.seconds)
                pace.seconds = _DECAY * pace.seconds + (1 - _DECAY) * seconds
                pace.items = _DECAY * pace.items + (1 - _DECAY) * items
        pace.outstanding += items
        pace.reached.append(pace.outstanding)
        pace.free_since = None
        pace.learn()
        self._look(pace, now)

    def answered(self, client: int, items: int, now: float) -> None:
        """A request of so many items is done."""
        pace = self._paces.get(client)
        if pace is not None:
            pace.outstanding -= items
            if not pace.answered:
                pace.answered = True
                pace.learn()
            self._look(pace, now)

    def rate(self, now: float) -> float:
        """Items per second of the clients that are preparing now."""
        return sum(
            pace.rate()
            for pace in self._paces.values()
            if pace.free_since is not None and now - pace.free_since <= _LATE * pace.seconds
        )

    def rate_after_answers(self, now: float) -> float:
        """As `rate`, if all clients that wait for an answer had it."""
        waiting = sum(
            pace.rate() for pace in self._paces.values() if pace.reached and pace.free_since is None
        )
        return waiting + self.rate(now)

    @property
    def window(self) -> int:
        """Items that all clients together may have outstanding."""
        return sum(pace.window for pace in self._paces.values())

    @property
    def reach(self) -> int:
        """Items that all clients together will have outstanding at most, by what they did."""
        return sum(pace.reach for pace in self._paces.values())

    @staticmethod
    def _look(pace: _Pace, now: float) -> None:
        """See whether the client can prepare another request."""
        # As `HostClient.acquire`: with nothing outstanding one more is always allowed.
        room = not pace.outstanding or pace.outstanding + pace.items <= pace.reach
        if not (pace.reached and room):
            pace.free_since = None
        elif pace.free_since is None:
            pace.free_since = now
