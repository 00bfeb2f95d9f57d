"""The messages of client and host, as values; `protocol` turns them into packets and back."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple


class Kind(IntEnum):
    """The kind of a message: the fourth byte of its header."""

    HELLO = 1
    WELCOME = 2
    OFFER = 3
    READY = 4
    SUBMIT = 5
    DONE = 6
    FAILED = 7
    CREDIT = 8
    ALIVE = 9
    STATS_REQUEST = 10
    STATS = 11
    REFUSAL = 12


class FailureCode(IntEnum):
    """Why an item of a request has no result."""

    INFERENCE = 1
    """The model raised for this very item, alone in its batch."""
    HANDLER = 2
    """What `predict` returned breaks the handler contract."""
    MEMORY = 3
    """The device's memory does not hold this item alone."""
    POISONED = 4
    """The host died three times while it ran the request; given by the client itself."""
    CAPACITY = 5
    """The result does not fit the client's arena; the text is the number of rows it has."""


class RefusalCode(IntEnum):
    """Why the host ends a connection."""

    PROTOCOL = 1
    """The client broke the protocol."""
    MODEL_KEY = 2
    """The client was made for another model."""
    FORMAT = 3
    """The client's items or rows have another shape than the handler's."""
    START_FAILED = 4
    """The host cannot start, and trying again would not help."""
    ARENA = 5
    """The arena's memory cannot be had."""


class Hello(NamedTuple):
    """Client: who asks, for what model, with items and rows of what shape.

    `schema` describes the items where the handler takes any (see `record_handler`): the host does
    not read it, and only items of equal schema share a batch.
    """

    model_key: str
    item_shape: tuple[int, ...]
    item_dtype: str
    output_rows: int
    row_width: int
    attempt: str
    row_dtype: str = "float32"
    schema: str = ""


class Welcome(NamedTuple):
    """Host: the arena to make if the client has none, and who the host is.

    `host_id` changes with the supervisor, `generation` counts its children from 1.
    """

    slots: int
    items: int
    host_id: str
    generation: int


class Offer(NamedTuple):
    """Client: an arena of so many slots of so many items, its file descriptor with the message."""

    slots: int
    items: int
    size: int


class Ready(NamedTuple):
    """Host: the model is loaded, the arena is in use; `credits` counts items outstanding."""

    credits: int
    max_batch: int
    model: dict[str, Any]


class Submit(NamedTuple):
    """Client: the first `items` items of `slot` are to be inferred.

    `deaths` counts the host's deaths while it ran this very request.
    """

    request: int
    slot: int
    items: int
    deaths: int


class Answer(NamedTuple):
    """One request of a DONE: rows are in its slot, except for items that FAILED named."""

    request: int
    slot: int
    queued_us: int
    executed_us: int
    batch_items: int


class Done(NamedTuple):
    """Host: these requests, at least one, are answered; what one batch answers comes together."""

    answers: tuple[Answer, ...]


class Failed(NamedTuple):
    """Host: these items of the request have no result; always before the request's DONE."""

    request: int
    code: FailureCode
    items: tuple[int, ...]
    text: str


class Credit(NamedTuple):
    """Host: from now on so many items may be outstanding (a window, not an addition)."""

    items: int


class Alive(NamedTuple):
    """Host: still loading or computing."""


class StatsRequest(NamedTuple):
    """Anyone: ask for the figures."""


class Stats(NamedTuple):
    """Host: the figures (see `carpool.host.counters`)."""

    figures: dict[str, Any]


class Refusal(NamedTuple):
    """Host: why it closes this connection."""

    code: RefusalCode
    text: str


Message = (
    Hello
    | Welcome
    | Offer
    | Ready
    | Submit
    | Done
    | Failed
    | Credit
    | Alive
    | StatsRequest
    | Stats
    | Refusal
)
