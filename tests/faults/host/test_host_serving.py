"""A real host, real client processes, nothing going wrong but the items."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carpool.errors import HandlerError, HostError, InferenceFailed, ProtocolError
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import SimulatedDevice
from carpool.host.messages import FailureCode, Hello, Offer, Refusal, RefusalCode, Submit, Welcome
from carpool.host.protocol import decode, encode
from support.host_handlers import BAD, BROKEN, SHAPE, digest, make_items
from support.host_process import PATIENCE, TESTS, RunningHost, config, gate


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningHost]:
    """A host that tests use in turn: nothing that one of them does may trouble the next."""
    with RunningHost(config()) as host:
        yield host


def submit(client: HostClient, items: np.ndarray, tag: object = None) -> None:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items), items if tag is None else tag)


def assert_right(done: Completed) -> None:
    assert len(done.rows) == len(done.tag)
    for rows, item in zip(done.rows, done.tag, strict=True):
        assert not isinstance(rows, ItemFailure)
        assert np.array_equal(rows, digest(item))


CLIENT_PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE, digest, make_items
from carpool.host.client import HostClient

seed, key = int(sys.argv[2]), sys.argv[3]
make_items(1, 0)
if len(sys.argv) > 4:
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(65534)
client = HostClient(Path(sys.argv[1]), model_key=key, item_shape=SHAPE,
                    output_rows=OUTPUT_ROWS, row_width=ROW_WIDTH, host_timeout=30)
sizes = np.random.default_rng(seed).integers(1, 17, 40)
seen = 0
def check(done):
    global seen
    number, items = done.tag
    assert number == seen, (number, seen)
    seen += 1
    for rows, item in zip(done.rows, items, strict=True):
        assert np.array_equal(rows, digest(item)), "rows of another item"
for number, size in enumerate(sizes):
    slot = client.acquire()
    items = make_items(int(size), seed * 1000 + number)
    slot.items[:size] = items
    client.submit(slot, int(size), (number, items))
    for done in client.completed():
        check(done)
for done in client.drain():
    check(done)
assert seen == 40
print(client.host_id, client.generation)
"""


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("numpy", SimulatedDevice()),
        ("simulated", SimulatedDevice(base_ms=1, item_ms=0.05, depth=2)),
    ],
)
def test_every_process_gets_the_rows_of_its_own_items_in_order(
    backend: str, device: SimulatedDevice
) -> None:
    settings = config(backend=backend, simulated=device, max_batch=12, expected_clients=4)
    with RunningHost(settings) as host:
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", CLIENT_PROGRAM, host.socket, str(n), settings.model_key],
                env=os.environ | {"PYTHONPATH": TESTS},
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(4)
        ]
        said = {client.communicate(timeout=60)[0] for client in clients}
        assert [client.returncode for client in clients] == [0] * 4
        figures = host.statistics()
    # One copy of the model served them all.
    assert said == {f"{figures['host_id']} 1\n"}
    assert figures["clients_served"] == 4
    assert figures["requests"] == 160
    assert figures["failed_items"] == 0
    assert sum(figures["batch_sizes"].values()) == figures["batches"]


@pytest.mark.parametrize("without", [(), ("shared_batches",)])
def test_requests_that_come_while_the_device_is_busy_share_a_batch(without: Any) -> None:
    settings = config(without=without)
    with gate() as barrier, RunningHost(replace(settings, parameters=barrier.parameters)) as host:
        clients = [host.client() for _ in range(4)]
        first = make_items(1, 0)
        first[0, 0, 0, 0] = 250
        submit(clients[0], first)
        barrier.wait()
        for number, client in enumerate(clients[1:]):
            submit(client, make_items(3, number))
        # The host reads in order, so its answer proves that it has read the submissions.
        assert clients[1].statistics()["queued"] >= 3
        assert host.statistics()["queued"] == 9
        barrier.open()
        for client in clients:
            (done,) = client.drain()
            assert_right(done)
            assert done.timing is not None
            together = 3 if without else 9
            assert done.timing.batch_items == (1 if client is clients[0] else together)
            client.close()


def test_requests_larger_than_a_batch_are_split() -> None:
    with RunningHost(config(max_batch=5)) as host, host.client() as client:
        submit(client, make_items(16, 0))
        (done,) = client.drain()
        assert_right(done)
        assert host.statistics()["batch_sizes"] == {"1": 1, "8": 3}


def test_a_bad_item_fails_alone(shared: RunningHost) -> None:
    with shared.client() as one, shared.client() as other:
        items = make_items(16, 0)
        items[[3, 11], 0, 0, 0] = BAD
        submit(one, items)
        submit(other, make_items(16, 1))
        (done,) = one.drain()
        (untouched,) = other.drain()
    assert_right(untouched)
    for index, (rows, item) in enumerate(zip(done.rows, items, strict=True)):
        if index in (3, 11):
            assert isinstance(rows, ItemFailure)
            assert rows.code is FailureCode.INFERENCE
            assert rows.message == "ValueError: an item that cannot be inferred"
            assert isinstance(rows.error(), InferenceFailed)
        else:
            assert not isinstance(rows, ItemFailure)
            assert np.array_equal(rows, digest(item))


def test_a_handler_that_breaks_its_contract_is_blamed_not_the_item(shared: RunningHost) -> None:
    with shared.client() as client:
        items = make_items(2, 0)
        items[0, 0, 0, 0] = BROKEN
        submit(client, items)
        (done,) = client.drain()
    (failure, _) = done.rows
    assert isinstance(failure, ItemFailure)
    assert isinstance(failure.error(), HandlerError)


def test_too_little_memory_halves_the_batch_and_loses_nothing() -> None:
    settings = config(backend="simulated", simulated=SimulatedDevice(oom_at_batch=2))
    with RunningHost(settings) as host, host.client() as client:
        for seed in range(3):
            submit(client, make_items(16, seed))
            (done,) = client.drain()
            assert_right(done)
        figures = client.statistics()
    assert figures["splits"] == 1
    assert figures["max_batch"] == 8


def test_credits_are_shared_anew_when_clients_come_and_go() -> None:
    with RunningHost(config(expected_clients=2, max_batch=64)) as host, host.client() as one:
        one.release(one.acquire())
        alone = one._credits
        with host.client() as other:
            other.release(other.acquire())
            # Three batches of 64 shared by two, in whole requests of 16.
            assert host.settles(lambda: list(one.completed()) == [] and one._credits == 96)
            assert other._credits == 96
        assert host.settles(lambda: list(one.completed()) == [] and one._credits == alone)


def test_a_client_made_for_another_model_is_refused(shared: RunningHost) -> None:
    with (
        shared.client(model_key="other") as client,
        pytest.raises(ProtocolError, match="planned for another model"),
    ):
        client.acquire()


def test_a_client_with_items_of_another_shape_is_refused(shared: RunningHost) -> None:
    with (
        shared.client(item_shape=(9, 9, 3)) as client,
        pytest.raises(ProtocolError, match=r"\(9, 9, 3\)"),
    ):
        client.acquire()


def test_all_slots_held_is_an_error_not_a_wait(shared: RunningHost) -> None:
    with shared.client() as client:
        slots = [client.acquire() for _ in range(3)]  # three batches of 16 for one client
        with pytest.raises(HostError, match="all 3 slots are held"):
            client.acquire()
        for slot in slots:
            client.release(slot)
        submit(client, make_items(2, 0))
        (done,) = client.drain()
        assert_right(done)


def test_a_closed_client_can_be_used_anew(shared: RunningHost) -> None:
    client = shared.client()
    for seed in range(2):
        submit(client, make_items(4, seed))
        (done,) = client.drain()
        assert_right(done)
        client.close()


def test_a_forked_process_cannot_use_the_client_nor_keep_it_alive(shared: RunningHost) -> None:
    client = shared.client()
    slot = client.acquire()
    submit(client, make_items(2, 0))
    wait_read, wait_write = os.pipe()
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (
            client.acquire,
            lambda: client.submit(slot, 1),
            client.completed,
            lambda: next(client.drain()),
            client.statistics,
        ):
            try:
                use()
            except HostError:
                refused += 1
        os.read(wait_read, 1)
        os._exit(5 - refused)
    client.release(slot)
    (done,) = client.drain()
    assert_right(done)
    client.close()
    # The fork still lives; only the end of the owner's connection can bring the number down.
    assert shared.settles(lambda: shared.statistics()["clients"] == 0)
    os.write(wait_write, b"x")
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "packet",
    [
        b"garbage",
        b"CP\x02\x09\x00\x00\x00\x00",
        encode(Submit(0, 0, 1, 0)),
        encode(Offer(1, 1, 4096)),
        b"x" * 5000,
    ],
)
def test_who_breaks_the_protocol_is_told_and_left(shared: RunningHost, packet: bytes) -> None:
    with shared.client() as bystander:
        submit(bystander, make_items(2, 0))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
            rude.settimeout(PATIENCE)
            rude.connect(str(shared.socket))
            rude.send(packet)
            answer = decode(rude.recv(5000))
            assert isinstance(answer, Refusal)
            assert answer.code is RefusalCode.PROTOCOL
            assert rude.recv(5000) == b""
        (done,) = bystander.drain()
        assert_right(done)


def test_an_arena_that_could_shrink_is_refused(shared: RunningHost) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
        rude.settimeout(PATIENCE)
        rude.connect(str(shared.socket))
        rude.send(encode(Hello(shared.config.model_key, SHAPE, "uint8", 4, 6, "")))
        assert isinstance(decode(rude.recv(5000)), Welcome)
        size = 8192
        memory = os.memfd_create("unsealed")
        os.ftruncate(memory, size)
        socket.send_fds(rude, [encode(Offer(1, 1, size))], [memory])
        os.close(memory)
        answer = decode(rude.recv(5000))
    assert isinstance(answer, Refusal)
    assert "seals" in answer.text


@pytest.mark.parametrize("module", ["carpool.host.client", "carpool.host.launch"])
def test_what_a_worker_imports_is_light(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'pyspark', 'pandas', 'cv2', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_client_of_another_user_is_served_through_the_group() -> None:
    settings = config()
    with RunningHost(settings) as host:
        group = 54321
        host.folder.chmod(0o750)
        os.chown(host.folder, -1, group)
        os.chown(host.socket, -1, group)
        host.statistics()
        client = subprocess.run(
            [
                *(sys.executable, "-c", CLIENT_PROGRAM),
                *(host.socket, "1", settings.model_key, str(group)),
            ],
            env=os.environ | {"PYTHONPATH": TESTS},
            timeout=60,
            check=False,
        )
    assert client.returncode == 0
