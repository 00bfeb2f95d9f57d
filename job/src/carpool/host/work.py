"""What the host works on: requests, parts of requests, batches of parts. Pure values.

A request is what a client submits, a batch what the device gets, and a part is the piece of one
request that is in one batch. Batches may cut requests anywhere, because a request counts itself
down until all its items are answered; splitting a batch to find a bad item, or because memory ran
out, is no special case either.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from carpool.host.messages import FailureCode

SOLO_DEATHS = 2
"""A request that was running at so many deaths of the host runs alone."""
FATAL_DEATHS = 3
"""At so many it is not run again."""


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that has no result, and why."""

    item: int
    code: FailureCode
    text: str


@dataclass(slots=True, eq=False)
class Request:
    """One submitted slot.

    Attributes:
        client: number of the client's session.
        number: the client's own number of the request.
        slot: where its items and results are.
        items: how many.
        deaths: of the host, while it ran this request.
        arrived: seconds, monotonic.
        key: only requests of equal key share a batch.
        unanswered: items still to be answered; 0 means done.
        failed: items without a result.
        started: when its first part was given to the device.
        on_device: parts of it that the device was given.
        executed: seconds the device spent on batches that held a part of it.
        batch_items: size of the largest of them.
    """

    client: int
    number: int
    slot: int
    items: int
    deaths: int
    arrived: float
    key: Hashable = None
    unanswered: int = 0
    failed: list[FailedItem] = field(default_factory=list)
    started: float | None = None
    on_device: int = 0
    executed: float = 0.0
    batch_items: int = 0

    def __post_init__(self) -> None:
        self.unanswered = self.items

    @property
    def alone(self) -> bool:
        """Whether it may not share the device with other requests."""
        return self.deaths >= SOLO_DEATHS


class Part(NamedTuple):
    """Items `start` to `stop` (not included) of a request."""

    request: Request
    start: int
    stop: int

    @property
    def items(self) -> int:
        """How many items it has."""
        return self.stop - self.start

    def split(self, items: int) -> tuple[Part, Part]:
        """The first `items` items, and the rest."""
        middle = self.start + items
        return Part(self.request, self.start, middle), Part(self.request, middle, self.stop)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What the device gets at once.

    Attributes:
        parts: in the order of the batch's items.
        alone: nothing else may be on the device at the same time.
        items: how many it has; counted once, since it is asked for a dozen times on a batch's way.
    """

    parts: Sequence[Part]
    alone: bool = False
    items: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", sum(part.items for part in self.parts))

    @property
    def key(self) -> Hashable:
        """What its requests have in common."""
        return self.parts[0].request.key

    def halves(self) -> tuple[Batch, Batch]:
        """The same items as two batches; needs at least two items."""
        room = self.items // 2
        first: list[Part] = []
        second: list[Part] = []
        for part in self.parts:
            if room >= part.items:
                first.append(part)
                room -= part.items
            elif room:
                head, tail = part.split(room)
                first.append(head)
                second.append(tail)
                room = 0
            else:
                second.append(part)
        return Batch(first, self.alone), Batch(second, self.alone)

    def without(self, clients: frozenset[int]) -> Batch:
        """The batch without the parts of these clients."""
        return Batch(
            [part for part in self.parts if part.request.client not in clients], self.alone
        )

    def requests(self) -> Iterator[Request]:
        """Its requests, each once."""
        return iter(dict.fromkeys(part.request for part in self.parts))
