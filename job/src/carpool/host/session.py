"""One client as the host sees it: its socket, its arena, its unanswered requests.

A session outlives its socket while the device still reads from its arena. Sending never blocks the
event loop: what the socket does not take waits in an outbox. While anything waits there the client
is not listened to, so that one which never reads cannot fill the host's memory with its answers.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import ProtocolError
from carpool.host.arena import Arena, SlotState
from carpool.host.credits import RequestShape
from carpool.host.messages import (
    Alive,
    Answer,
    Credit,
    Done,
    Failed,
    FailureCode,
    Hello,
    Message,
    Refusal,
    RefusalCode,
    Submit,
)
from carpool.host.poller import Poller
from carpool.host.protocol import MAX_FAILED_ITEMS, MAX_MESSAGE, clip, decode, encode
from carpool.host.work import FailedItem, Part, Request
from carpool.vision.handler import Rows


class Gone(Exception):
    """The client closed its connection or died."""


class Session:
    """One client.

    Attributes:
        number: identifies the session in this child, never used again.
        hello: what the client said first; None before.
        offered: whether the client has sent its arena.
        arena: mapped and committed; None before.
        credits: items the client may have outstanding.
        closed: the socket is closed.
        on_device: parts of this client's requests that the device was given.
    """

    def __init__(
        self,
        number: int,
        connection: socket.socket,
        poller: Poller,
        on_ready: Callable[[Session, float], None],
    ) -> None:
        self.number = number
        self.hello: Hello | None = None
        self.offered = False
        self.arena: Arena | None = None
        self.credits = 0
        self.closed = False
        self.on_device = 0
        self._requests: dict[int, Request] = {}
        self._busy: set[int] = set()
        self._last_request = -1
        self._descriptor: int | None = None
        self._socket = connection
        self._poller = poller
        self._answers: list[Answer] = []
        self._outbox: deque[bytes] = deque()
        connection.setblocking(False)
        poller.watch(connection, partial(on_ready, self))

    @property
    def shape(self) -> RequestShape:
        """The arena's shape; needs an arena."""
        layout = self._mapped().layout
        return RequestShape(layout.slots, layout.items)

    @property
    def waits(self) -> bool:
        """Whether the client may be waiting for a word of the host."""
        return self.hello is not None and (self.credits == 0 or bool(self._requests))

    @property
    def stuck(self) -> bool:
        """Whether something waits in the outbox, so that the client is not listened to."""
        return bool(self._outbox)

    @property
    def runs_ahead(self) -> bool:
        """Whether the client sends requests without waiting for each answer."""
        return len(self._requests) > 1

    def receive(self) -> Message:
        """Read one message.

        Raises:
            Gone: end of file, or the peer died.
            ProtocolError: this is no message.
            BlockingIOError: there is none.
        """
        try:
            if self.hello is not None and not self.offered:
                packet, descriptors, _, _ = socket.recv_fds(
                    self._socket, MAX_MESSAGE + 1, 1, socket.MSG_CMSG_CLOEXEC
                )
                for descriptor in descriptors:
                    self._keep(descriptor)
            else:
                # A plain receive discards descriptors that nobody asked for.
                packet = self._socket.recv(MAX_MESSAGE + 1)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Gone from error
        if not packet:
            raise Gone
        return decode(packet)

    def take_descriptor(self) -> int:
        """Hand over the file descriptor that came with the OFFER.

        Raises:
            ProtocolError: none came.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            raise ProtocolError("OFFER came without the arena's file descriptor")
        return descriptor

    def send(self, message: Message) -> None:
        """Send a message now or as soon as the client takes it."""
        if self.closed:
            return
        packet = encode(message)
        if self._outbox:
            if not isinstance(message, Alive):
                self._queue(message, packet)
            return
        try:
            self._socket.send(packet)
        except BlockingIOError:
            if isinstance(message, Alive):  # a client that has unread messages knows as much
                return
            self._queue(message, packet)
            # And not for data: see above. The client's end is an event all the same.
            self._poller.await_room(self._socket)
        except OSError:
            # It died; its end of file is about to be read.
            self._outbox.clear()

    def flush(self) -> None:
        """Send what waits in the outbox."""
        while self._outbox:
            try:
                self._socket.send(self._outbox[0])
            except BlockingIOError:
                return
            except OSError as error:
                raise Gone from error
            self._outbox.popleft()
        self._poller.await_data(self._socket)

    def refuse(self, code: RefusalCode, text: str) -> None:
        """Tell the client why, and close."""
        self.send(Refusal(code, clip(text)))
        self.close()

    def close(self) -> None:
        """Close the socket; the arena stays until the session is dropped."""
        if not self.closed:
            self.closed = True
            self._poller.forget(self._socket)
            self._socket.close()
            self._keep(None)

    def accept(self, submit: Submit, now: float) -> Request:
        """Take a request in.

        Raises:
            ProtocolError: it comes before READY, does not fit the arena, or its slot or number is
                in use.
        """
        if self.credits == 0:
            raise ProtocolError("SUBMIT before READY")
        layout = self._mapped().layout
        if submit.slot >= layout.slots or not 1 <= submit.items <= layout.items:
            raise ProtocolError(
                f"SUBMIT of {submit.items} items in slot {submit.slot}; the arena has "
                f"{layout.slots} slots of {layout.items} items"
            )
        if submit.slot in self._busy:
            raise ProtocolError(f"SUBMIT of slot {submit.slot}, which is not answered yet")
        if submit.request <= self._last_request:
            raise ProtocolError(f"SUBMIT of request {submit.request} after {self._last_request}")
        self._last_request = submit.request
        self._busy.add(submit.slot)
        request = Request(
            client=self.number,
            number=submit.request,
            slot=submit.slot,
            items=submit.items,
            deaths=submit.deaths,
            arrived=now,
            key=self.hello.schema if self.hello else None,
        )
        self._requests[submit.request] = request
        return request

    def begin(self, part: Part, now: float) -> NDArray[Any]:
        """Give the items of a part that goes to the device.

        If the host dies from now on, the arena remembers that this request was in it.
        """
        arena, request = self._mapped(), part.request
        self.on_device += 1
        request.on_device += 1
        if request.started is None:
            request.started = now
        arena.states[request.slot] = SlotState.RUNNING
        return arena.items[request.slot, part.start : part.stop]

    def take_off(self, part: Part) -> None:
        """A part is no longer on the device, whatever became of it.

        A request whose other parts still wait is not in the next batch that kills the host.
        """
        request = part.request
        self.on_device -= 1
        request.on_device -= 1
        if request.unanswered and not request.on_device:
            self._mapped().states[request.slot] = SlotState.QUEUED

    def store(self, part: Part, rows: Sequence[Rows] | NDArray[Any]) -> None:
        """Write the rows of a part into the arena; as one block where all items have as many."""
        arena, slot = self._mapped(), part.request.slot
        most = rows.shape[1] if isinstance(rows, np.ndarray) else max(map(len, rows), default=0)
        if most > arena.layout.format.output_rows:
            # Only a client that chose the size itself meets this: it asks again with a larger one.
            self.fail(part, FailureCode.CAPACITY, str(most))
            return
        if isinstance(rows, np.ndarray):
            arena.counts[slot, part.start : part.stop] = most
            arena.rows[slot, part.start : part.stop, :most] = rows
            part.request.unanswered -= part.items
            return
        for item, found in enumerate(rows, part.start):
            arena.counts[slot, item] = len(found)
            arena.rows[slot, item, : len(found)] = found
        part.request.unanswered -= part.items

    def fail(self, part: Part, code: FailureCode, text: str) -> None:
        """Note that the items of a part have no result."""
        text = clip(text)
        part.request.failed += [FailedItem(i, code, text) for i in range(part.start, part.stop)]
        part.request.unanswered -= part.items

    def answer(self, request: Request) -> None:
        """Note that a request is done; the client hears of it by `tell`, of failures at once."""
        self._mapped().states[request.slot] = SlotState.ANSWERED
        self._busy.remove(request.slot)
        del self._requests[request.number]
        if request.failed:
            self._tell_failures(request)
        queued = (request.started or request.arrived) - request.arrived
        self._answers.append(
            Answer(
                request.number,
                request.slot,
                int(queued * 1e6),
                int(request.executed * 1e6),
                request.batch_items,
            )
        )

    def tell(self) -> None:
        """Tell the client what was answered; one message has room for all slots of an arena."""
        if self._answers:
            self.send(Done(tuple(self._answers)))
            self._answers.clear()

    def _tell_failures(self, request: Request) -> None:
        groups: dict[tuple[FailureCode, str], list[int]] = {}
        for failed in request.failed:
            groups.setdefault((failed.code, failed.text), []).append(failed.item)
        for (code, text), items in groups.items():
            for first in range(0, len(items), MAX_FAILED_ITEMS):
                named = tuple(items[first : first + MAX_FAILED_ITEMS])
                self.send(Failed(request.number, code, named, text))

    def _queue(self, message: Message, packet: bytes) -> None:
        """Put a packet into the outbox; of several windows only the last matters."""
        if isinstance(message, Credit):
            left = (one for one in self._outbox if not isinstance(decode(one), Credit))
            self._outbox = deque(left)
        self._outbox.append(packet)

    def _keep(self, descriptor: int | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def _mapped(self) -> Arena:
        if self.arena is None:
            raise ProtocolError("the session has no arena")
        return self.arena
