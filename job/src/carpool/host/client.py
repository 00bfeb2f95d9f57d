"""What a Spark task holds of the model host: slots to fill, results in the order of submission.

Single-threaded, and light: numpy and the standard library. What must stay true: every submitted
request comes back exactly once, by rows or by failures, whatever becomes of the host; the arena
outlives hosts, so nothing is decoded twice; a task never fails because the host is absent, only
because nothing of it is heard for a long time, or because it says that it cannot work.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import NDArray

from carpool.errors import HostError, ProtocolError
from carpool.host.arena import Arena, ArenaLayout, SlotFormat, SlotState, create_arena
from carpool.host.ledger import Completed, ItemFailure, Ledger, Pending, Timing
from carpool.host.link import HostGone, Link
from carpool.host.messages import (
    Alive,
    Answer,
    Credit,
    Done,
    Failed,
    Hello,
    Message,
    Offer,
    Ready,
    Stats,
    StatsRequest,
    Submit,
    Welcome,
)
from carpool.vision.handler import Rows

__all__ = ["Completed", "HostClient", "ItemFailure", "Slot", "Timing"]

_Expected = TypeVar("_Expected", Welcome, Ready)


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A place for one request, held by whoever acquired it until it is submitted or released.

    Attributes:
        index: in the arena.
        items: [n, *item_shape], to be written; n is the most items of a request.
    """

    index: int
    items: NDArray[Any]


_OPEN: weakref.WeakSet[HostClient] = weakref.WeakSet()
"""All clients of this process, for the moment in which it forks."""


class HostClient:
    """One task's connection to the model host of its machine. Not for use by several threads.

    Attributes:
        host_id: which host answered last; changes with its supervisor.
        generation: which of its children, from 1.
        model: facts about the loaded model, from READY.
    """

    def __init__(
        self,
        socket_path: Path,
        *,
        model_key: str,
        item_shape: tuple[int, ...],
        output_rows: int,
        row_width: int,
        row_dtype: str = "float32",
        schema: str = "",
        attempt: str = "",
        host_timeout: float = 600.0,
        revive: Callable[[], object] | None = None,
    ) -> None:
        """Take what is needed; nothing is opened before the first `acquire`.

        Args:
            socket_path: where the host listens, or will.
            model_key: of the host's configuration.
            item_shape: of one uint8 item, as the handler says.
            output_rows: most rows of an item, as the handler says.
            row_width: columns of a row, as the handler says.
            row_dtype: numpy name of the rows' type, as the handler says.
            schema: what the items are, where the handler takes any.
            attempt: a label for logs: which task this is.
            host_timeout: seconds to wait while no host shows any life; one that says that it is
                loading or computing is waited for without limit.
            revive: called when nobody listens, to start the host again (`ensure_host`).

        Raises:
            HostStartFailed: no Unix socket can have this path.
        """
        self.host_id = ""
        self.generation = 0
        self.model: dict[str, Any] = {}
        self._format = SlotFormat(item_shape, output_rows, row_width, row_dtype=row_dtype)
        self._hello = Hello(
            *(model_key, item_shape, "uint8", output_rows, row_width, attempt, row_dtype, schema)
        )
        self._link = Link(socket_path, host_timeout, revive)
        self._process = os.getpid()
        self._forked = False
        self._arena: Arena | None = None
        self._descriptor: int | None = None
        self._slots: list[Slot] = []
        self._free: list[Slot] = []
        self._held: set[Slot] = set()
        self._ledger = Ledger()
        self._credits = 0
        self._figures: dict[str, Any] | None = None
        _OPEN.add(self)

    def acquire(self) -> Slot:
        """Give a slot to fill, waiting for the host until there is one.

        Raises:
            HostError: all slots are held by the caller and none is submitted; or as `Link.receive`.
        """
        if self._link.connected and (slot := self._grant()):
            return slot
        self._link.be_patient()
        while True:
            self._converse()
            if slot := self._grant():
                return slot
            if not self._ledger.outstanding:
                raise HostError(
                    f"all {len(self._held)} slots are held; submit or release one before acquiring"
                )
            self._listen()

    def submit(self, slot: Slot, count: int, tag: Any = None) -> None:
        """Send the first `count` items of a slot to be inferred.

        The slot must not be touched afterwards.

        Args:
            slot: from `acquire`.
            count: at least 1, at most the slot's items.
            tag: comes back with the result.
        """
        connected = self._is_connected()
        if slot not in self._held:
            raise ValueError("this slot is not held: acquire one first")
        if not 1 <= count <= len(slot.items):
            raise ValueError(f"{count} items; a slot takes 1 to {len(slot.items)}")
        self._held.remove(slot)
        self._mapped().states[slot.index] = SlotState.QUEUED
        request = self._ledger.add(slot.index, count, tag)
        if connected:
            try:
                self._send(request)
            except HostGone:
                self._lost()

    def release(self, slot: Slot) -> None:
        """Give a slot back that is not to be submitted."""
        self._held.remove(slot)
        self._free.append(slot)

    def completed(self) -> Iterator[Completed]:
        """Give what is answered, in the order of submission, without waiting."""
        if self._is_connected():
            try:
                while (message := self._link.poll()) is not None:
                    self._hear(message)
            except HostGone:
                self._lost()
        return self._ledger.results()

    def drain(self) -> Iterator[Completed]:
        """Give all that was submitted, in that order, waiting for it.

        Raises:
            HostError: as `Link.receive`.
        """
        yield from self._ledger.results()
        while not self._ledger.empty:
            self._link.be_patient()
            self._converse()
            if self._ledger.waits:
                self._listen()
            yield from self._ledger.results()

    def statistics(self) -> dict[str, Any]:
        """Ask the host for its figures (see `carpool.host.counters`).

        Raises:
            HostError: as `Link.receive`.
        """
        self._figures = None
        self._link.be_patient()
        while True:
            self._converse()
            try:
                self._link.send(StatsRequest())
                while self._figures is None:
                    self._hear(self._link.receive())
            except HostGone:
                self._lost()
                continue
            return self._figures

    def close(self) -> None:
        """End the connection and give the arena back; what was not answered is forgotten."""
        self._link.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._arena = None
        self._slots.clear()
        self._free.clear()
        self._held.clear()
        self._ledger.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if os.getpid() == getattr(self, "_process", None):
            self.close()

    def _is_connected(self) -> bool:
        """Whether there is a connection; a forked copy has none (see `_abandon`).

        Raises:
            HostError: this is a forked copy.
        """
        if self._link.connected:
            return True
        if self._forked:
            raise HostError(
                f"this client belongs to process {self._process}, from which process {os.getpid()} "
                "was forked; open a client in each process"
            )
        return False

    def _converse(self) -> None:
        """See to it that there is a host that is ready and knows all that is not answered."""
        while not self._is_connected():
            self._link.connect()
            try:
                self._introduce()
            except HostGone:
                self._lost()
            except BaseException:
                self._link.close()
                raise

    def _introduce(self) -> None:
        self._link.send(self._hello)
        welcome = self._expect(Welcome)
        self.host_id, self.generation = welcome.host_id, welcome.generation
        if self._arena is None:
            layout = ArenaLayout(self._format, welcome.slots, welcome.items)
            self._arena, self._descriptor = create_arena(layout)
            self._slots = [Slot(index, self._arena.items[index]) for index in range(layout.slots)]
            self._free = list(self._slots)
        layout = self._arena.layout
        self._link.send(Offer(layout.slots, layout.items, layout.size), self._descriptor)
        ready = self._expect(Ready)
        self._credits, self.model = ready.credits, ready.model
        for request in self._ledger.open:
            self._send(request)

    def _expect(self, kind: type[_Expected]) -> _Expected:
        while True:
            message = self._link.receive()
            if isinstance(message, kind):
                return message
            if not isinstance(message, Alive):
                raise ProtocolError(
                    f"the host sent {type(message).__name__}, expected {kind.__name__}"
                )

    def _listen(self) -> None:
        try:
            self._hear(self._link.receive())
        except HostGone:
            self._lost()

    def _hear(self, message: Message) -> None:
        match message:
            case Done():
                for answer in message.answers:
                    self._take(answer)
            case Failed():
                failure = ItemFailure(message.code, message.text)
                failures = self._ledger.find(message.request).failures
                failures.update(dict.fromkeys(message.items, failure))
            case Credit():
                self._credits = message.items
            case Stats():
                self._figures = message.figures
            case Alive():
                pass
            case _:
                raise ProtocolError(f"a ready host does not send {type(message).__name__}")

    def _take(self, answer: Answer) -> None:
        """Copy the results out of the arena, and free the slot."""
        request = self._ledger.find(answer.request)
        arena, slot, items = self._mapped(), request.slot, request.items
        counts = arena.counts[slot, :items].tolist()
        found: list[Rows | ItemFailure] = []
        alike = not request.failures and counts.count(counts[0]) == items
        if alike and 0 <= counts[0] <= self._format.output_rows:
            # One copy; the items' rows are views of it.
            found = list(arena.rows[slot, :items, : counts[0]].copy())
            counts = []
        for item, count in enumerate(counts):
            if item in request.failures:
                found.append(request.failures[item])
            elif 0 <= count <= self._format.output_rows:
                found.append(arena.rows[slot, item, :count].copy())
            else:
                raise ProtocolError(f"the host says that an item has {count} rows")
        timing = Timing(answer.queued_us / 1e6, answer.executed_us / 1e6, answer.batch_items)
        self._ledger.complete(request, found, timing)
        self._free.append(self._slots[slot])

    def _grant(self) -> Slot | None:
        if not self._free:
            return None
        outstanding, size = self._ledger.outstanding, len(self._free[0].items)
        # With nothing outstanding no credit will ever come back, so one more is always allowed.
        if outstanding and outstanding + (len(self._held) + 1) * size > self._credits:
            return None
        slot = self._free.pop()
        self._held.add(slot)
        return slot

    def _send(self, request: Pending) -> None:
        self._link.send(Submit(request.number, request.slot, request.items, request.deaths))

    def _lost(self) -> None:
        """The host died: what it was running may have killed it."""
        self._link.close()
        if self._arena is None:
            return
        states = self._arena.states
        poisoned = self._ledger.host_died(
            lambda request: bool(states[request.slot] == SlotState.RUNNING)
        )
        self._free += [self._slots[request.slot] for request in poisoned]
        for request in self._ledger.open:
            states[request.slot] = SlotState.QUEUED

    def _mapped(self) -> Arena:
        if self._arena is None:
            raise HostError("this client is closed")
        return self._arena

    def _abandon(self) -> None:
        """Close a forked copy, so that the host sees the end of the process that owns it."""
        self._forked = True
        self._link.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._arena = None
        self._slots.clear()
        self._free.clear()


def _abandon_copies() -> None:
    for client in list(_OPEN):
        client._abandon()  # noqa: SLF001 - the class's own business, at the moment of a fork


os.register_at_fork(after_in_child=_abandon_copies)
