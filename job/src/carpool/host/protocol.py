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
            ◀──────────────────  FAILED (request, items)*   DONE (request, timings)
            ◀──────────────────  CREDIT, ALIVE at any time; REFUSAL, then end of file
    STATS_REQUEST ───────────────────────────▶  also without a HELLO
            ◀──────────────────  STATS
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from carpool.errors import ProtocolError
from carpool.host.messages import (
    Alive,
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
VERSION = 1
MAX_MESSAGE = 4096
"""Bytes of a packet."""
MAX_TEXT = 1024
"""Bytes of UTF-8 that FAILED and REFUSAL carry."""
MAX_FAILED_ITEMS = 1024
"""Items that one FAILED names; more take several messages."""

_HEADER = struct.Struct("<2sBBI")
_FAILED = struct.Struct("<QHH")
_REFUSAL = struct.Struct("<H")

_FIXED: dict[Kind, tuple[struct.Struct, Callable[..., Message]]] = {
    Kind.OFFER: (struct.Struct("<IIQ"), Offer),
    Kind.SUBMIT: (struct.Struct("<QIII"), Submit),
    Kind.DONE: (struct.Struct("<QIQQI"), Done),
    Kind.CREDIT: (struct.Struct("<I"), Credit),
    Kind.ALIVE: (struct.Struct("<"), Alive),
    Kind.STATS_REQUEST: (struct.Struct("<"), StatsRequest),
}
_WHOLE = {
    kind: struct.Struct(_HEADER.format + body.format[1:]) for kind, (body, _) in _FIXED.items()
}
"""Header and body together, for what is sent most: SUBMIT and DONE."""
_JSON: dict[Kind, tuple[Callable[..., Message], dict[str, type]]] = {
    Kind.HELLO: (
        Hello,
        {
            "model_key": str,
            "item_shape": list,
            "item_dtype": str,
            "output_rows": int,
            "row_width": int,
            "attempt": str,
            "row_dtype": str,
            "schema": str,
        },
    ),
    Kind.WELCOME: (Welcome, {"slots": int, "items": int, "host_id": str, "generation": int}),
    Kind.READY: (Ready, {"credits": int, "max_batch": int, "model": dict}),
    Kind.STATS: (Stats, {"figures": dict}),
}
_KINDS: dict[type, Kind] = {
    Hello: Kind.HELLO,
    Welcome: Kind.WELCOME,
    Offer: Kind.OFFER,
    Ready: Kind.READY,
    Submit: Kind.SUBMIT,
    Done: Kind.DONE,
    Failed: Kind.FAILED,
    Credit: Kind.CREDIT,
    Alive: Kind.ALIVE,
    StatsRequest: Kind.STATS_REQUEST,
    Stats: Kind.STATS,
    Refusal: Kind.REFUSAL,
}


def encode(message: Message) -> bytes:
    """Give the packet of a message.

    Raises:
        ProtocolError: it does not fit into MAX_MESSAGE bytes, or a number into its field.
    """
    kind = _KINDS[type(message)]
    try:
        if (whole := _WHOLE.get(kind)) is not None:
            return whole.pack(MAGIC, VERSION, kind, whole.size - _HEADER.size, *message)
        body = _encode_body(message)
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
    if len(packet) < _HEADER.size:
        raise ProtocolError(f"packet of {len(packet)} bytes; a header has {_HEADER.size}")
    magic, version, number, length = _HEADER.unpack_from(packet)
    if magic != MAGIC:
        raise ProtocolError(f"packet begins with {magic!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise ProtocolError(f"protocol version {version}; this end speaks {VERSION}")
    body = packet[_HEADER.size :]
    if length != len(body):
        raise ProtocolError(f"body of {len(body)} bytes; its header says {length}")
    try:
        kind = Kind(number)
    except ValueError as error:
        raise ProtocolError(f"unknown kind of message: {number}") from error
    try:
        return _decode_body(kind, body)
    except (struct.error, TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{kind.name} cannot be read: {error}") from error


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Shorten a text to at most `limit` bytes of UTF-8."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def _encode_body(message: Message) -> bytes:
    if isinstance(message, Failed):
        count = len(message.items)
        if not 1 <= count <= MAX_FAILED_ITEMS:
            raise ValueError(f"{count} items, expected 1 to {MAX_FAILED_ITEMS}")
        head = _FAILED.pack(message.request, message.code, count)
        return head + struct.pack(f"<{count}H", *message.items) + _text_bytes(message.text)
    if isinstance(message, Refusal):
        return _REFUSAL.pack(message.code) + _text_bytes(message.text)
    return json.dumps(message._asdict(), separators=(",", ":"), allow_nan=False).encode()


def _decode_body(kind: Kind, body: bytes) -> Message:
    if kind in _FIXED:
        layout, make = _FIXED[kind]
        return make(*layout.unpack(body))
    if kind is Kind.FAILED:
        request, code, count = _FAILED.unpack_from(body)
        end = _FAILED.size + 2 * count
        if not 1 <= count <= MAX_FAILED_ITEMS:
            raise ValueError(f"{count} items, expected 1 to {MAX_FAILED_ITEMS}")
        items = struct.unpack(f"<{count}H", body[_FAILED.size : end])
        return Failed(request, FailureCode(code), items, body[end:].decode())
    if kind is Kind.REFUSAL:
        (code,) = _REFUSAL.unpack_from(body)
        return Refusal(RefusalCode(code), body[_REFUSAL.size :].decode())
    return _decode_json(kind, body)


def _decode_json(kind: Kind, body: bytes) -> Message:
    make, types = _JSON[kind]
    found = json.loads(body)
    if not isinstance(found, dict):
        raise TypeError(f"body is a {type(found).__name__}, expected an object")
    return make(*(_field(name, found.get(name), expected) for name, expected in types.items()))


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
