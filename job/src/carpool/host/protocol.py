"""The messages of client and host as bytes and back.

One message is one packet of a Unix SOCK_SEQPACKET socket: an 8-byte little-endian header (magic,
version, kind, length of the body) and a body of a fixed struct, or of JSON where it may grow.
Encoding and decoding are pure, and strict: what cannot be read exactly is a `ProtocolError` that
says what was found. Items and results never travel here; they are in the arena.

    client                                    host
    HELLO (model key, format)  ──────────────▶
            ◀──────────────────  WELCOME (shape of the arena to make, who the host is)
    OFFER (slots, items; + fd) ──────────────▶  checks seals and size, maps, commits the memory
            ◀──────────────────  READY (credits, model facts), once the model is loaded
    SUBMIT (request, slot) ──────────────────▶
            ◀──────────────────  FAILED (request, items)*   DONE (request, timings)+
            ◀──────────────────  CREDIT, ALIVE at any time; REFUSAL, then end of file
    STATS_REQUEST ───────────────────────────▶  also without a HELLO
            ◀──────────────────  STATS
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

from carpool.errors import ProtocolError
from carpool.host.messages import (
    Alive,
    Answer,
    Credit,
    Done,
    Failed,
    FailureCode,
    Hello,
    Kind,
    Message,
    Offer,
    Ready,
    Refusal,
    RefusalCode,
    Stats,
    StatsRequest,
    Submit,
    Welcome,
)

MAGIC = b"CP"
VERSION = 2
MAX_MESSAGE = 4096
"""Bytes of a packet."""
MAX_TEXT = 1024
"""Bytes of UTF-8 that FAILED and REFUSAL carry."""
MAX_FAILED_ITEMS = 1024
"""Items that one FAILED names; more take several messages."""

_HEADER = struct.Struct("<2sBBI")
_ANSWER = struct.Struct("<QIQQI")
_FAILED = struct.Struct("<QHH")
_REFUSAL = struct.Struct("<H")
MAX_ANSWERS = (MAX_MESSAGE - _HEADER.size) // _ANSWER.size
"""Requests that one DONE answers; more than an arena has slots (`credits.MOST_SLOTS`)."""


def encode(message: Message) -> bytes:
    """Give the packet of a message.

    Raises:
        ProtocolError: it does not fit into MAX_MESSAGE bytes, or a number into its field.
    """
    kind, write = _WRITERS[type(message)]
    try:
        body = write(message)
    except (struct.error, TypeError, ValueError) as error:
        raise ProtocolError(f"{kind.name} cannot be sent: {error}") from error
    if _HEADER.size + len(body) > MAX_MESSAGE:
        raise ProtocolError(
            f"{kind.name} cannot be sent: its body has {len(body)} bytes, a message holds "
            f"{MAX_MESSAGE - _HEADER.size}"
        )
    return _HEADER.pack(MAGIC, VERSION, kind, len(body)) + body


def decode(packet: bytes) -> Message:
    """Give the message of a packet.

    Raises:
        ProtocolError: the packet is not exactly one message of this version.
    """
    read = _READERS.get(packet[:4])
    if read is None or int.from_bytes(packet[4:8], "little") != len(packet) - _HEADER.size:
        raise ProtocolError(_why_unreadable(packet))
    try:
        return read(packet[8:])
    except (struct.error, TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{Kind(packet[3]).name} cannot be read: {error}") from error


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Shorten a text to at most `limit` bytes of UTF-8."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def _why_unreadable(packet: bytes) -> str:
    if len(packet) < _HEADER.size:
        return f"packet of {len(packet)} bytes; a header has {_HEADER.size}"
    magic, version, kind, length = _HEADER.unpack_from(packet)
    if magic != MAGIC:
        return f"packet begins with {magic!r}, expected {MAGIC!r}"
    if version != VERSION:
        return f"protocol version {version}; this end speaks {VERSION}"
    if length != len(packet) - _HEADER.size:
        return f"body of {len(packet) - _HEADER.size} bytes; its header says {length}"
    return f"unknown kind of message: {kind}"


class _Body(NamedTuple):
    """How messages of a kind become bytes and are made of them."""

    type: type[Message]
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Message]


def _fixed(make: type[Message], layout: str) -> _Body:
    pack, unpack = struct.Struct(layout).pack, struct.Struct(layout).unpack
    return _Body(make, lambda message: pack(*message), lambda body: make(*unpack(body)))


def _json(make: type[Message], **fields: type) -> _Body:
    return _Body(make, _write_json, partial(_read_json, make, fields))


def _write_done(done: Done) -> bytes:
    if not done.answers:
        raise ValueError("it answers no request")
    return b"".join(starmap(_ANSWER.pack, done.answers))


def _read_done(body: bytes) -> Done:
    if not body:
        raise ValueError("it answers no request")
    return Done(tuple(starmap(Answer, _ANSWER.iter_unpack(body))))


def _write_failed(failed: Failed) -> bytes:
    count = len(failed.items)
    if not 1 <= count <= MAX_FAILED_ITEMS:
        raise ValueError(f"{count} items, expected 1 to {MAX_FAILED_ITEMS}")
    head = _FAILED.pack(failed.request, failed.code, count)
    return head + struct.pack(f"<{count}H", *failed.items) + _text_bytes(failed.text)


def _read_failed(body: bytes) -> Failed:
    request, code, count = _FAILED.unpack_from(body)
    end = _FAILED.size + 2 * count
    if not 1 <= count <= MAX_FAILED_ITEMS:
        raise ValueError(f"{count} items, expected 1 to {MAX_FAILED_ITEMS}")
    items = struct.unpack(f"<{count}H", body[_FAILED.size : end])
    return Failed(request, FailureCode(code), items, body[end:].decode())


def _write_refusal(refusal: Refusal) -> bytes:
    return _REFUSAL.pack(refusal.code) + _text_bytes(refusal.text)


def _read_refusal(body: bytes) -> Refusal:
    (code,) = _REFUSAL.unpack_from(body)
    return Refusal(RefusalCode(code), body[_REFUSAL.size :].decode())


def _write_json(message: Message) -> bytes:
    return json.dumps(message._asdict(), separators=(",", ":"), allow_nan=False).encode()


def _read_json(make: Callable[..., Message], fields: dict[str, type], body: bytes) -> Message:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise TypeError(f"body is a {type(found).__name__}, expected an object")
    return make(*(_field(name, found.get(name), expected) for name, expected in fields.items()))


def _field(name: str, value: Any, expected: type) -> Any:
    # type, not isinstance: true is no number here
    if type(value) is not expected:
        raise TypeError(f"{name} is {value!r}, expected {expected.__name__}")
    if isinstance(value, int) and not 0 <= value < 1 << 63:
        raise ValueError(f"{name} is {value}, expected 0 to 2^63 - 1")
    return _shape(value) if isinstance(value, list) else value


def _shape(value: list[Any]) -> tuple[int, ...]:
    if not 1 <= len(value) <= 8 or any(type(side) is not int or side < 1 for side in value):
        raise ValueError(f"item_shape is {value!r}, expected 1 to 8 positive integers")
    return tuple(value)


def _text_bytes(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > MAX_TEXT:
        raise ValueError(f"a text of {len(raw)} bytes, expected at most {MAX_TEXT}")
    return raw


_BODIES = {
    Kind.HELLO: _json(
        Hello,
        model_key=str,
        item_shape=list,
        item_dtype=str,
        output_rows=int,
        row_width=int,
        attempt=str,
        row_dtype=str,
        schema=str,
    ),
    Kind.WELCOME: _json(Welcome, slots=int, items=int, host_id=str, generation=int),
    Kind.OFFER: _fixed(Offer, "<IIQ"),
    Kind.READY: _json(Ready, credits=int, max_batch=int, model=dict),
    Kind.SUBMIT: _fixed(Submit, "<QIII"),
    Kind.DONE: _Body(Done, _write_done, _read_done),
    Kind.FAILED: _Body(Failed, _write_failed, _read_failed),
    Kind.CREDIT: _fixed(Credit, "<I"),
    Kind.ALIVE: _fixed(Alive, "<"),
    Kind.STATS_REQUEST: _fixed(StatsRequest, "<"),
    Kind.STATS: _json(Stats, figures=dict),
    Kind.REFUSAL: _Body(Refusal, _write_refusal, _read_refusal),
}
_WRITERS = {body.type: (kind, body.write) for kind, body in _BODIES.items()}
_READERS = {MAGIC + bytes((VERSION, kind)): body.read for kind, body in _BODIES.items()}
"""By the first four bytes of a packet."""
