"""A client's requests from submission to result. Pure.

What must stay true: each request comes out exactly once, in the order of submission; a death of the
host counts against a request only if the host was running it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from carpool.errors import (
    CarpoolError,
    HandlerError,
    HostOutOfMemory,
    InferenceFailed,
    ProtocolError,
    RequestPoisoned,
)
from carpool.host.messages import FailureCode
from carpool.host.work import FATAL_DEATHS
from carpool.vision.handler import Rows


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why an item has no rows."""

    code: FailureCode
    message: str

    def error(self) -> CarpoolError:
        """The error it stands for: of the item, of the handler, or of the request."""
        if self.code is FailureCode.HANDLER:
            return HandlerError(self.message)
        if self.code is FailureCode.MEMORY:
            return HostOutOfMemory(self.message)
        if self.code is FailureCode.POISONED:
            return RequestPoisoned(self.message)
        return InferenceFailed(self.message)


class Timing(NamedTuple):
    """What became of a request in the host.

    Attributes:
        queued: seconds until the device got its first item.
        executed: seconds the device spent on the batches that its items were in.
        batch_items: size of the largest of these batches.
    """

    queued: float
    executed: float
    batch_items: int


class Completed(NamedTuple):
    """An answered request.

    Attributes:
        tag: as given to `submit`.
        rows: per item float32 [k, row_width], or why there are none.
        timing: None where the host never answered.
    """

    tag: Any
    rows: list[Rows | ItemFailure]
    timing: Timing | None


@dataclass(slots=True, eq=False)
class Pending:
    """A request that is not answered.

    Attributes:
        number: its name between client and host.
        slot: index of its slot.
        items: how many it has.
        tag: the caller's.
        deaths: of the host, while it ran this request.
        failures: items that will have no rows.
    """

    number: int
    slot: int
    items: int
    tag: Any
    deaths: int = 0
    failures: dict[int, ItemFailure] = field(default_factory=dict)


class Ledger:
    """The requests of one client.

    Attributes:
        outstanding: items that are submitted and not answered.
    """

    def __init__(self) -> None:
        self.outstanding = 0
        self._next_number = 0
        self._open: dict[int, Pending] = {}
        self._order: deque[int] = deque()
        self._results: dict[int, Completed] = {}

    @property
    def open(self) -> Sequence[Pending]:
        """What is not answered, in the order of submission."""
        return list(self._open.values())

    @property
    def waits(self) -> bool:
        """Whether the next result to give out is still to come."""
        return bool(self._order) and self._order[0] not in self._results

    @property
    def empty(self) -> bool:
        """Whether everything submitted was given out."""
        return not self._order

    def add(self, slot: int, items: int, tag: Any) -> Pending:
        """Enter a request."""
        request = Pending(self._next_number, slot, items, tag)
        self._next_number += 1
        self._open[request.number] = request
        self._order.append(request.number)
        self.outstanding += items
        return request

    def find(self, number: int) -> Pending:
        """Give an open request.

        Raises:
            ProtocolError: there is none of this number.
        """
        try:
            return self._open[number]
        except KeyError:
            raise ProtocolError(f"the host speaks of request {number}, which is not open") from None

    def complete(
        self, request: Pending, rows: list[Rows | ItemFailure], timing: Timing | None
    ) -> None:
        """Enter a request's result."""
        del self._open[request.number]
        self.outstanding -= request.items
        self._results[request.number] = Completed(request.tag, rows, timing)

    def results(self) -> Iterator[Completed]:
        """Give out, in order, what need not wait for an earlier request."""
        while self._order and self._order[0] in self._results:
            yield self._results.pop(self._order.popleft())

    def host_died(self, was_running: Callable[[Pending], bool]) -> list[Pending]:
        """Count a death of the host.

        Returns:
            Requests that are now complete, by failure: the host died too often running them.
        """
        poisoned = []
        for request in self.open:
            request.failures.clear()
            request.deaths += was_running(request)
            if request.deaths >= FATAL_DEATHS:
                failure = ItemFailure(
                    FailureCode.POISONED,
                    f"the model host died {request.deaths} times while it ran this request, the "
                    "last time with nothing else on the device",
                )
                self.complete(request, [failure] * request.items, None)
                poisoned.append(request)
        return poisoned

    def clear(self) -> None:
        """Forget everything."""
        self.outstanding = 0
        self._open.clear()
        self._order.clear()
        self._results.clear()
