"""How a client becomes one: HELLO is checked, its arena is mapped, its credits are granted.

Mapping an arena commits its memory, and a device may pin it, which takes a millisecond for every
few megabytes; a thread of its own does it, and undoes it, so that the event loop keeps serving the
others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from carpool.errors import ProtocolError
from carpool.host.arena import Arena, ArenaLayout, SlotFormat, adopt_arena
from carpool.host.backends.base import Backend
from carpool.host.config import HostConfig
from carpool.host.credits import MOST_SLOTS, RequestShape, grant_credits, request_shape
from carpool.host.messages import Credit, Hello, Offer, Ready, RefusalCode
from carpool.host.session import Session

_LEAST_SLOTS = 2
"""What `request_shape` asks for whatever the budget: so many slots of one item."""


class Refused(Exception):
    """The client cannot be served."""

    def __init__(self, code: RefusalCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class ArenaMapped:
    """The arena of a session is in use, or why it is not."""

    session: int
    arena: Arena | None
    error: Exception | None


class Admission:
    """Decides who is served, and with how much memory."""

    def __init__(
        self,
        config: HostConfig,
        backend: Backend,
        post: Callable[[Any], None],
    ) -> None:
        """Take what clients are held against.

        Args:
            config: of the host.
            backend: its handler's shapes are what a client must have; told of arenas.
            post: takes an ArenaMapped for each OFFER.
        """
        self._key = config.model_key
        self._format = backend.slot_format
        self._config = config
        self._backend = backend
        self._post = post
        self._mapper = ThreadPoolExecutor(1, "arenas")

    def greet(self, session: Session, hello: Hello) -> RequestShape:
        """Take a HELLO, and give the shape of the arena that the client should make.

        Raises:
            Refused: another model, or other shapes.
            ProtocolError: it said HELLO before.
        """
        if session.hello is not None:
            raise ProtocolError("second HELLO")
        if hello.model_key != self._key:
            raise Refused(
                RefusalCode.MODEL_KEY,
                f"this host serves the model with key {self._key}; the task wants "
                f"{hello.model_key}: it was planned for another model or other parameters",
            )
        asked = _format(hello)
        if self._format is not None and (asked != self._format or hello.schema):
            raise Refused(RefusalCode.FORMAT, f"the handler has {self._format}, the task {asked}")
        session.hello = hello
        config = self._config
        return request_shape(
            asked.slot_item_bytes,
            self._backend.max_batch * self._backend.lanes,
            config.expected_clients,
            request_items=config.request_items,
            request_bytes=config.request_bytes,
            arena_bytes=config.arena_bytes,
        )

    def map_arena(self, session: Session, offer: Offer) -> None:
        """Map an arena in the background.

        Raises:
            ProtocolError: the offer comes twice or without its descriptor, or its numbers are not
                those of an arena that a host with this budget asks for.
        """
        if session.hello is None or session.offered:
            raise ProtocolError("OFFER must come once, after HELLO")
        form = _format(session.hello)
        self._check_budget(offer, form)
        layout = ArenaLayout(form, offer.slots, offer.items)
        if layout.size != offer.size:
            raise ProtocolError(
                f"OFFER of {offer.size} bytes; {offer.slots} slots of {offer.items} items of "
                f"{form} have {layout.size}"
            )
        descriptor = session.take_descriptor()
        session.offered = True
        self._mapper.submit(self._map, session.number, descriptor, layout)

    def release(self, arena: Arena) -> None:
        """The client has left, and nothing of its arena is on the device any more."""
        self._mapper.submit(self._backend.detach, arena.memory)

    def _check_budget(self, offer: Offer, form: SlotFormat) -> None:
        """Refuse what must not be committed: a sparse file of any size costs a client nothing."""
        slots, items, budget = offer.slots, offer.items, self._config.arena_bytes
        if not (1 <= slots <= MOST_SLOTS and items >= 1):
            raise ProtocolError(
                f"OFFER of {slots} slots of {items} items; an arena has 1 to {MOST_SLOTS} slots"
            )
        least = slots <= _LEAST_SLOTS and items == 1
        if slots * items * form.slot_item_bytes > budget and not least:
            raise ProtocolError(
                f"OFFER of {slots} slots of {items} items; arena_bytes is {budget}, for all clients"
            )

    def _map(self, session: int, descriptor: int, layout: ArenaLayout) -> None:
        try:
            arena = adopt_arena(descriptor, layout)
            self._backend.attach(arena.memory)
        except Exception as error:  # noqa: BLE001 - the event loop tells the client
            self._post(ArenaMapped(session, None, error))
        else:
            self._post(ArenaMapped(session, arena, None))
        finally:
            os.close(descriptor)


def _format(hello: Hello) -> SlotFormat:
    """The format that a client asks for.

    Raises:
        ProtocolError: a type that is none.
    """
    for name in (hello.item_dtype, hello.row_dtype):
        try:
            kind = np.dtype(name)
        except TypeError as error:
            raise ProtocolError(f"HELLO: {error}") from error
        if kind.hasobject:
            raise ProtocolError(f"HELLO: {name} is no type for shared memory")
    return SlotFormat(
        hello.item_shape, hello.output_rows, hello.row_width, hello.item_dtype, hello.row_dtype
    )


def welcome_ready(
    sessions: Iterable[Session], *, max_batch: int, lanes: int, model: dict[str, Any]
) -> list[Session]:
    """Grant credits anew: READY to the clients that have none yet, CREDIT to whose change.

    Args:
        sessions: all open sessions.
        max_batch: the largest batch.
        lanes: batches that are computed at once.
        model: facts about the model, for READY.

    Returns:
        The sessions whose credits changed.
    """
    ready = {session.number: session for session in sessions if session.arena is not None}
    grants = grant_credits(max_batch * lanes, {number: ready[number].shape for number in ready})
    changed = [
        ready[number] for number, granted in grants.items() if granted != ready[number].credits
    ]
    for session in changed:
        granted = grants[session.number]
        session.send(Credit(granted) if session.credits else Ready(granted, max_batch, model))
        session.credits = granted
    return changed
