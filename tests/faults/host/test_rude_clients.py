"""A client breaks a rule: it is told which and left, and nobody else notices."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from carpool.host.arena import ArenaLayout, create_arena
from carpool.host.client import HostClient, ItemFailure
from carpool.host.messages import (
    Alive,
    Answer,
    Done,
    Hello,
    Kind,
    Offer,
    Ready,
    RefusalCode,
    StatsRequest,
    Submit,
    Welcome,
)
from carpool.host.protocol import MAGIC, MAX_MESSAGE, VERSION, encode
from support.host_handlers import GATED, digest, make_items
from support.host_process import Gate, RunningHost, comes_true, config, gate, open_descriptors
from support.raw_client import FORMAT, RawClient

LAYOUT = ArenaLayout(FORMAT, slots=2, items=4)
OFFER = Offer(LAYOUT.slots, LAYOUT.items, LAYOUT.size)


@pytest.fixture(scope="module")
def host() -> Iterator[RunningHost]:
    """One host bears all of it."""
    with RunningHost(config()) as made:
        yield made


@pytest.fixture
def bystander(host: RunningHost) -> Iterator[HostClient]:
    """Served before and after; and afterwards the host is as it was."""
    with host.client() as client:
        assert serves(client)
        child, descriptors = host.child(), open_descriptors(host.child())
        yield client
        assert serves(client)
        assert host.child() == child, "the host died of it"
        assert host.settles(lambda: host.statistics()["clients"] == 1)
        assert host.settles(lambda: open_descriptors(child) <= descriptors)


def serves(client: HostClient, seed: int = 0) -> bool:
    items = make_items(5, seed)
    slot = client.acquire()
    slot.items[:5] = items
    client.submit(slot, 5)
    (done,) = client.drain()
    return all(
        not isinstance(rows, ItemFailure) and np.array_equal(rows, digest(item))
        for rows, item in zip(done.rows, items, strict=True)
    )


@pytest.fixture
def rude(host: RunningHost, bystander: HostClient) -> Iterator[RawClient]:
    with RawClient(host.socket, host.config) as client:
        yield client


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"garbage", "7 bytes"),
        (b"\0" * 8, "begins with"),
        (struct.pack("<2sBBI", MAGIC, VERSION + 1, Kind.ALIVE, 0), "protocol version"),
        (struct.pack("<2sBBI", MAGIC, VERSION, 77, 0), "unknown kind"),
        (struct.pack("<2sBBI", MAGIC, VERSION, Kind.SUBMIT, 1) + b"x", "SUBMIT cannot be read"),
        (struct.pack("<2sBBI", MAGIC, VERSION, Kind.HELLO, 2) + b"[]", "body is a list"),
        (b"x" * (MAX_MESSAGE + 900), "begins with"),
        (encode(Alive()), "does not send Alive"),
        (encode(Done((Answer(0, 0, 0, 0, 0),))), "does not send Done"),
        (encode(Ready(1, 1, {})), "does not send Ready"),
        (encode(Welcome(1, 1, "", 1)), "does not send Welcome"),
        (encode(Submit(0, 0, 1, 0)), "SUBMIT before READY"),
        (encode(OFFER), "after HELLO"),
    ],
)
def test_a_packet_that_no_client_begins_with(rude: RawClient, packet: bytes, said: str) -> None:
    rude.say(packet)
    refusal = rude.refusal()
    assert refusal.code is RefusalCode.PROTOCOL
    assert said in refusal.text


def test_an_empty_packet_ends_the_connection(rude: RawClient) -> None:
    rude.say(b"")
    assert rude.socket.recv(100) == b""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model_key": "another"}, RefusalCode.MODEL_KEY),
        ({"item_shape": (8, 6, 4)}, RefusalCode.FORMAT),
        ({"item_dtype": "float32"}, RefusalCode.FORMAT),
        ({"output_rows": 5}, RefusalCode.FORMAT),
        ({"row_width": 7}, RefusalCode.FORMAT),
    ],
)
def test_a_hello_of_another_model_or_format(
    rude: RawClient, change: dict[str, object], code: RefusalCode
) -> None:
    rude.say(rude.hello._replace(**change))
    assert rude.refusal().code is code


def test_hello_twice(rude: RawClient) -> None:
    rude.greet()
    rude.say(rude.hello)
    assert "second HELLO" in rude.refusal().text


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        (Offer(0, 4, 0), "0 slots"),
        (Offer(2, 0, 0), "0 items"),
        (Offer(1 << 20, 4, 0), "1048576 slots"),
        (OFFER._replace(size=LAYOUT.size + 1), f"have {LAYOUT.size}"),
        (OFFER._replace(items=500), f"OFFER of {LAYOUT.size} bytes"),
    ],
)
def test_an_offer_whose_numbers_are_no_arenas(rude: RawClient, offer: Offer, said: str) -> None:
    rude.greet()
    _, descriptor = create_arena(LAYOUT)
    rude.say(offer, descriptor)
    os.close(descriptor)
    refusal = rude.refusal()
    assert refusal.code is RefusalCode.PROTOCOL
    assert said in refusal.text


def test_an_arena_beyond_the_hosts_budget_is_refused_before_it_is_committed() -> None:
    """A sparse file of any size costs a client nothing; committing it would end the host."""
    with (
        RunningHost(config(arena_bytes=1 << 20)) as host,
        RawClient(host.socket, host.config) as rude,
    ):
        rude.greet()
        large = ArenaLayout(FORMAT, slots=60, items=500)
        _, descriptor = create_arena(large)
        rude.say(Offer(large.slots, large.items, large.size), descriptor)
        refusal = rude.refusal()
        assert refusal.code is RefusalCode.PROTOCOL
        assert "arena_bytes is 1048576" in refusal.text
        assert os.fstat(descriptor).st_blocks == 0
        os.close(descriptor)


def sealed(size: int, seals: int) -> int:
    descriptor = os.memfd_create("rude", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


_ALL = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sealed(LAYOUT.size, fcntl.F_SEAL_GROW), "could shrink"),
        (lambda: sealed(LAYOUT.size, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK), "could shrink"),
        (lambda: sealed(LAYOUT.size - 4096, _ALL), f"its layout needs {LAYOUT.size}"),
        (lambda: os.open("/dev/zero", os.O_RDWR), "no memfd"),
        (lambda: os.open("/", os.O_RDONLY), "no memfd"),
        (lambda: os.eventfd(0), "no memfd"),
    ],
)
def test_memory_that_is_no_arena(rude: RawClient, make: Callable[[], int], said: str) -> None:
    rude.greet()
    descriptor = make()
    rude.say(OFFER, descriptor)
    os.close(descriptor)
    refusal = rude.refusal()
    assert refusal.code is RefusalCode.PROTOCOL
    assert said in refusal.text


def test_memory_that_must_not_be_written(rude: RawClient) -> None:
    """The host could map it for reading only; it is an error of this client, not of the host."""
    rude.greet()
    descriptor = sealed(LAYOUT.size, _ALL | fcntl.F_SEAL_WRITE)
    rude.say(OFFER, descriptor)
    os.close(descriptor)
    assert "the arena cannot be used" in rude.refusal().text


def test_an_offer_without_memory(rude: RawClient) -> None:
    rude.greet()
    rude.say(OFFER)
    assert "without the arena's file descriptor" in rude.refusal().text


def test_offer_twice(rude: RawClient) -> None:
    rude.shake_hands()
    _, descriptor = create_arena(LAYOUT)
    rude.say(OFFER, descriptor)
    os.close(descriptor)
    assert "OFFER must come once" in rude.refusal().text


@pytest.mark.parametrize(
    ("submit", "said"),
    [
        (Submit(0, 3, 1, 0), "in slot 3"),
        (Submit(0, 2**32 - 1, 1, 0), "in slot 4294967295"),
        (Submit(0, 0, 0, 0), "SUBMIT of 0 items"),
        (Submit(0, 0, 17, 0), "SUBMIT of 17 items"),
    ],
)
def test_a_request_that_does_not_fit_the_arena(rude: RawClient, submit: Submit, said: str) -> None:
    rude.shake_hands()
    rude.say(submit)
    assert said in rude.refusal().text


def test_a_request_number_that_was_used(rude: RawClient) -> None:
    rude.shake_hands()
    rude.say(Submit(5, 0, 1, 0))
    assert isinstance(rude.hear(), Done)
    rude.say(Submit(5, 0, 1, 0))
    assert "request 5 after 5" in rude.refusal().text


def test_descriptors_that_nobody_asked_for_are_not_kept(host: RunningHost, rude: RawClient) -> None:
    child = host.child()
    open_before = open_descriptors(child)
    null = os.open(os.devnull, os.O_RDONLY)
    rude.say(StatsRequest(), *[null] * 10)  # before HELLO
    rude.hear()
    rude.greet()
    for _ in range(10):  # where the host looks for the arena's
        rude.say(StatsRequest(), *[null] * 10)
        rude.hear()
    assert open_descriptors(child) <= open_before + 1
    with RawClient(host.socket, host.config) as welcome:
        welcome.shake_hands()
        for number in range(10):  # and after it
            welcome.say(Submit(number, 0, 1, 0), *[null] * 10)
            welcome.hear()
        os.close(null)
        # Its socket and its arena, and the one that came where an arena's is expected.
        assert host.settles(lambda: open_descriptors(child) <= open_before + 3)


@pytest.fixture
def barrier() -> Iterator[Gate]:
    with gate() as made:
        yield made


def test_a_slot_that_is_still_the_hosts(barrier: Gate) -> None:
    """Its memory stays in place until the device has finished with it."""
    with (
        RunningHost(config(parameters=barrier.parameters)) as host,
        host.client() as other,
        RawClient(host.socket, host.config) as rude,
    ):
        assert serves(other)
        rude.shake_hands()
        assert rude.arena is not None
        rude.arena.items[0, 0, 0, 0, 0] = GATED
        rude.say(Submit(0, 0, 1, 0))
        barrier.wait()
        rude.say(Submit(1, 0, 1, 0))
        assert "slot 0, which is not answered yet" in rude.refusal().text
        barrier.open()
        assert serves(other)


def test_requests_before_ready(barrier: Gate) -> None:
    parameters = {"load_gate": barrier.parameters["gate"]}
    with RunningHost(config(parameters=parameters)) as host:
        with RawClient(host.socket, host.config) as rude:
            rude.offer()
            assert host.settles(lambda: host.arenas_mapped() == 1)
            rude.say(Submit(0, 0, 1, 0))
            assert "SUBMIT before READY" in rude.refusal().text
        barrier.open()
        with host.client() as client:
            assert serves(client)


def flood(client: RawClient, packets: Iterator[bytes], most: int) -> int:
    """Send without ever reading; gives how many the host took before it stopped listening."""
    client.socket.settimeout(1.0)
    for sent, packet in zip(range(most), packets, strict=False):
        try:
            client.socket.send(packet)
        except TimeoutError:
            return sent
    return most


def test_a_client_that_never_reads_is_not_listened_to_any_more(
    host: RunningHost, bystander: HostClient, rude: RawClient
) -> None:
    """Or what it should hear would fill the host's memory."""
    rude.shake_hands()
    question = encode(StatsRequest())
    most = 5_000
    assert flood(rude, iter(lambda: question, None), most) < most
    assert serves(bystander, 1)
    # Once it reads, it gets every answer, and is heard again.
    rude.socket.settimeout(None)
    rude.say(Submit(0, 0, 2, 0))
    while not isinstance(rude.hear(), Done):
        pass


def test_a_client_that_never_read_can_die(bystander: HostClient, rude: RawClient) -> None:
    """The host sees its end although it does not listen to it."""
    rude.shake_hands()
    question = encode(StatsRequest())
    assert flood(rude, iter(lambda: question, None), 5_000) < 5_000
    rude.close()  # the fixtures look that it is forgotten


def test_more_requests_than_credits_are_bounded_by_the_arena(barrier: Gate) -> None:
    """Credits shrink while requests are on their way, so exceeding them is no offence."""
    with (
        RunningHost(config(parameters=barrier.parameters, expected_clients=4)) as gated,
        gated.client() as other,
        RawClient(gated.socket, gated.config) as greedy,
    ):
        assert serves(other)
        ready = greedy.shake_hands()
        assert greedy.arena is not None
        slots, items = greedy.arena.layout.slots, greedy.arena.layout.items
        greedy.arena.items[0, 0, 0, 0, 0] = GATED
        for slot in range(slots):
            greedy.say(Submit(slot, slot, items, 0))
        barrier.wait()
        assert ready.credits <= slots * items
        slot = other.acquire()
        mine = make_items(5, 3)
        slot.items[:5] = mine
        other.submit(slot, 5)
        assert gated.settles(lambda: gated.statistics()["queued"] >= 5)
        barrier.open()
        (done,) = other.drain()
        for rows, item in zip(done.rows, mine, strict=True):
            assert np.array_equal(rows, digest(item))
        answered = set()
        while len(answered) < slots:
            message = greedy.hear()
            if isinstance(message, Done):
                answered.update(answer.request for answer in message.answers)


SEED = int(os.environ.get("CARPOOL_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


def mutated(rng: random.Random, packet: bytes) -> bytes:
    raw = bytearray(packet)
    for _ in range(rng.randrange(1, 4)):
        match rng.randrange(4):
            case 0 if raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            case 1:
                del raw[rng.randrange(len(raw) + 1) :]
            case 2:
                raw += rng.randbytes(rng.randrange(30))
            case _ if len(raw) > 8:  # an honest length, whatever is in it
                raw[4:8] = struct.pack("<I", len(raw) - 8)
    return bytes(raw)


@pytest.mark.slow
def test_random_packets_in_every_state_disturb_nobody(
    host: RunningHost, bystander: HostClient
) -> None:
    print(f"CARPOOL_TEST_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
    rng = random.Random(SEED)
    hello = Hello(host.config.model_key, FORMAT.item_shape, "uint8", 4, 6, "fuzz")
    valid = [
        encode(message)
        for message in (hello, OFFER, Submit(1, 0, 2, 0), Submit(2, 1, 1, 2), StatsRequest())
    ]
    for round_ in range(300):
        with RawClient(host.socket, host.config) as fuzzer:
            (lambda: None, fuzzer.greet, fuzzer.shake_hands)[round_ % 3]()
            for _ in range(20):
                packet = rng.choice(valid)
                if rng.random() < 0.8:
                    packet = mutated(rng, packet)
                descriptors = [0] if rng.random() < 0.2 else []
                try:
                    fuzzer.say(packet, *descriptors)
                except OSError:  # it was refused meanwhile
                    break
        if round_ % 20 == 0:
            assert serves(bystander, round_)


def test_more_connections_than_descriptors_keep_nobody_from_being_served() -> None:
    limit = 64
    with (
        RunningHost(config(alive_seconds=0.2), limits={"RLIMIT_NOFILE": limit}) as host,
        host.client() as first,
    ):
        assert serves(first)
        child = host.child()
        crowd = []
        for _ in range(2 * limit):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(str(host.socket))
            crowd.append(connection)
        assert serves(first)
        # The host tries again with each sign of life; asking gives it turns until then.
        full = comes_true(lambda: bool(first.statistics()) and open_descriptors(child) == limit)
        assert full, "there is room for another client"
        for connection in crowd:
            connection.close()
        with host.client() as late:
            assert serves(late)
        assert host.child() == first.statistics()["pid"]
