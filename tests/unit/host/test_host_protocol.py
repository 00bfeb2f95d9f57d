from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from carpool.host.protocol import (
    MAX_ANSWERS,
    MAX_FAILED_ITEMS,
    MAX_MESSAGE,
    MAX_TEXT,
    VERSION,
    clip,
    decode,
    encode,
)

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
COUNT = st.integers(0, 2**63 - 1)
NAME = st.text(max_size=60)
TEXT = st.text(max_size=MAX_TEXT // 4)
FACTS = st.dictionaries(NAME, COUNT | NAME | st.booleans() | st.none(), max_size=4)
SHAPE = st.lists(st.integers(1, 10_000), min_size=1, max_size=8).map(tuple)
ANSWERS = st.builds(Answer, U64, U32, U64, U64, U32)

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, NAME, SHAPE, NAME, COUNT, COUNT, NAME, NAME, NAME),
    st.builds(Welcome, COUNT, COUNT, NAME, COUNT),
    st.builds(Offer, U32, U32, U64),
    st.builds(Ready, COUNT, COUNT, FACTS),
    st.builds(Submit, U64, U32, U32, U32),
    st.builds(Done, st.lists(ANSWERS, min_size=1, max_size=MAX_ANSWERS).map(tuple)),
    st.builds(
        Failed,
        U64,
        st.sampled_from(FailureCode),
        st.lists(U16, min_size=1, max_size=MAX_FAILED_ITEMS).map(tuple),
        TEXT,
    ),
    st.builds(Credit, U32),
    st.just(Alive()),
    st.just(StatsRequest()),
    st.builds(Stats, FACTS),
    st.builds(Refusal, st.sampled_from(RefusalCode), TEXT),
)


@settings(max_examples=50)
@given(MESSAGES)
def test_a_message_survives_the_way_through_a_packet(message: Message) -> None:
    packet = encode(message)
    assert len(packet) <= MAX_MESSAGE
    found = decode(packet)
    assert type(found) is type(message)
    assert found == message


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_and_nothing_else(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(packet)


@settings(max_examples=50)
@given(MESSAGES, st.data())
def test_a_damaged_packet_is_read_as_a_message_or_refused(
    message: Message, data: st.DataObject
) -> None:
    packet = bytearray(encode(message))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(packet))
    except ProtocolError:
        return
    # Whatever was read can be sent on: no half-checked value gets through.
    assert decode(encode(found)) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = ("model_key", "item_shape", "item_dtype", "output_rows", "row_width", "attempt", "slots")
BODIES = (
    st.binary(max_size=300)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda value: json.dumps(value).encode())
    | st.integers(1, 1300).map(lambda depth: b"[" * depth)
    | st.integers(1, 3000).map(lambda digits: b'{"slots":' + b"9" * digits + b"}")
)


@settings(max_examples=200)
@given(st.sampled_from(Kind), BODIES)
def test_any_body_under_an_honest_header_is_a_message_or_refused(kind: Kind, body: bytes) -> None:
    try:
        found = decode(struct.pack("<2sBBI", b"CP", VERSION, kind, len(body)) + body)
    except ProtocolError:
        return
    assert decode(encode(found)) == found


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"CP\x02", "3 bytes"),
        (struct.pack("<2sBBI", b"XX", VERSION, 9, 0), "b'XX'"),
        (struct.pack("<2sBBI", b"CP", 7, 9, 0), "version 7"),
        (struct.pack("<2sBBI", b"CP", VERSION, 99, 0), "kind of message: 99"),
        (struct.pack("<2sBBI", b"CP", VERSION, 9, 5), "header says 5"),
        (struct.pack("<2sBBI", b"CP", VERSION, 8, 1) + b"x", "CREDIT"),
        (struct.pack("<2sBBI", b"CP", VERSION, 6, 0), "DONE.*no request"),
        (struct.pack("<2sBBI", b"CP", VERSION, 6, 40) + bytes(40), "DONE cannot be read"),
    ],
)
def test_the_error_says_what_was_found(packet: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        decode(packet)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_key", 5),
        ("item_shape", []),
        ("item_shape", [1, 0]),
        ("item_shape", [True]),
        ("output_rows", True),
        ("row_width", -1),
        ("attempt", None),
    ],
)
def test_a_hello_with_a_wrong_field_names_it(field: str, value: Any) -> None:
    body: dict[str, Any] = Hello("key", (4, 4, 3), "uint8", 10, 6, "a")._asdict()
    body[field] = value
    raw = json.dumps(body).encode()
    with pytest.raises(ProtocolError, match=f"HELLO.*{field}"):
        decode(struct.pack("<2sBBI", b"CP", VERSION, Kind.HELLO, len(raw)) + raw)


def test_a_hello_may_carry_more_than_this_version_knows() -> None:
    hello = Hello("key", (4, 4, 3), "uint8", 10, 6, "a")
    raw = json.dumps(hello._asdict() | {"newer": [1, 2]}).encode()
    assert decode(struct.pack("<2sBBI", b"CP", VERSION, Kind.HELLO, len(raw)) + raw) == hello


@pytest.mark.parametrize(
    "message",
    [
        Submit(-1, 0, 1, 0),
        Credit(2**32),
        Done(()),
        Done((Answer(0, 0, 0, 0, 1),) * (MAX_ANSWERS + 1)),
        Stats({"text": "x" * MAX_MESSAGE}),
        Stats({"number": float("nan")}),
        Failed(1, FailureCode.INFERENCE, (), "no item"),
        Failed(1, FailureCode.INFERENCE, (70_000,), ""),
        Refusal(RefusalCode.PROTOCOL, "x" * (MAX_TEXT + 1)),
    ],
)
def test_what_does_not_fit_is_not_sent(message: Message) -> None:
    with pytest.raises(ProtocolError, match="cannot be sent"):
        encode(message)


@settings(max_examples=50)
@given(st.text(), st.integers(3, 50))
def test_a_clipped_text_fits_and_is_text(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped.encode()) <= limit
    if len(text.encode("utf-8", "replace")) <= limit:
        assert clipped == text.encode("utf-8", "replace").decode()
