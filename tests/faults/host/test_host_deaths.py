"""Something dies, at the worst moment; nothing is lost and nothing comes twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from carpool.errors import HostStartFailed, HostTimeout, RequestPoisoned
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import SimulatedDevice
from carpool.host.messages import Alive, Hello, Welcome
from carpool.host.protocol import decode, encode
from carpool.host.termination import Termination, failure_file
from support.host_handlers import GATED, SHAPE, digest, make_items
from support.host_process import (
    PATIENCE,
    TESTS,
    Gate,
    RunningHost,
    config,
    gate,
    process_ends,
)


def submit(client: HostClient, items: np.ndarray) -> None:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items), items)


def infer(client: HostClient, items: np.ndarray) -> Completed:
    submit(client, items)
    return next(client.drain())


def gated(count: int, seed: int) -> np.ndarray:
    items = make_items(count, seed)
    items[0, 0, 0, 0] = GATED
    return items


def assert_right(done: Completed) -> None:
    assert len(done.rows) == len(done.tag)
    for rows, item in zip(done.rows, done.tag, strict=True):
        assert not isinstance(rows, ItemFailure), rows
        assert np.array_equal(rows, digest(item))


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def arenas_mapped(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("carpool-arena")


@pytest.fixture
def barrier() -> Iterator[Gate]:
    with gate() as made:
        yield made


def test_the_child_killed_in_the_middle_of_a_batch_costs_nobody_a_request(barrier: Gate) -> None:
    with RunningHost(config(parameters=barrier.parameters)) as host:
        clients = [host.client() for _ in range(3)]
        child = host.child()
        submit(clients[0], gated(4, 0))
        barrier.wait()
        submit(clients[0], make_items(5, 1))
        for number, client in enumerate(clients[1:], 2):
            submit(client, make_items(6, number))
        os.kill(child, signal.SIGKILL)
        assert process_ends(child)  # or it could still pass the gate that is its successor's
        barrier.open()
        answered = [list(client.drain()) for client in clients]
        for done in (done for each in answered for done in each):
            assert_right(done)
        assert [len(each) for each in answered] == [2, 1, 1]
        figures = host.statistics()
        assert figures["generation"] == 2
        assert figures["requests"] == 4
        assert len({client.host_id for client in clients} | {figures["host_id"]}) == 1
        assert {client.generation for client in clients} == {2}


def test_a_client_that_hears_of_the_death_late_loses_nothing(barrier: Gate) -> None:
    """It is decoding when the host dies, and submits to a host that is gone."""
    with RunningHost(config(parameters=barrier.parameters)) as host, host.client() as client:
        submit(client, make_items(3, 0))
        assert_right(next(client.drain()))
        slot = client.acquire()
        child = host.child()
        os.kill(child, signal.SIGKILL)
        assert process_ends(child)
        items = make_items(2, 1)
        slot.items[:2] = items
        client.submit(slot, 2, items)
        assert list(client.completed()) == []
        (done,) = client.drain()
        assert_right(done)


def kill_client(host: RunningHost, program: str, barrier: Gate | None = None) -> None:
    """Run a client that prints a line when it has come to where it is to be killed."""
    preamble = f"""
import sys
from pathlib import Path
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE, make_items
from carpool.host.client import HostClient
client = HostClient(Path({str(host.socket)!r}), model_key={host.config.model_key!r},
                    item_shape=SHAPE, output_rows=OUTPUT_ROWS, row_width=ROW_WIDTH)
slot = client.acquire()
slot.items[:8] = make_items(8, 77)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", preamble + program + "\nprint('here', flush=True)\ninput()"],
        env=os.environ | {"PYTHONPATH": TESTS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"here\n"
    if barrier is not None:
        barrier.wait()
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_killed_clients_leave_nothing_behind_and_disturb_nobody(barrier: Gate) -> None:
    with RunningHost(config(parameters=barrier.parameters)) as host, host.client() as survivor:
        submit(survivor, make_items(4, 0))
        assert_right(next(survivor.drain()))
        child = host.child()
        assert host.settles(lambda: arenas_mapped(child) == 1)
        descriptors = open_descriptors(child)

        kill_client(host, "")  # before it submits
        kill_client(host, "slot.items[0, 0, 0, 0] = 250\nclient.submit(slot, 8)", barrier)  # during
        submit(survivor, make_items(7, 1))
        barrier.open()
        assert_right(next(survivor.drain()))
        kill_client(host, "client.submit(slot, 8)\nlist(client.drain())")  # after

        submit(survivor, make_items(7, 2))
        assert_right(next(survivor.drain()))
        assert host.child() == child
        assert host.settles(lambda: open_descriptors(child) <= descriptors)
        assert host.settles(lambda: arenas_mapped(child) == 1)
        figures = host.statistics()
        assert figures["queued"] == figures["running"] == 0


def test_a_request_that_kills_the_host_three_times_is_given_up_and_no_other() -> None:
    settings = config(backend="simulated", simulated=SimulatedDevice(crash_prefix="deadbeef"))
    with RunningHost(settings) as host:
        poisoner, others = host.client(), [host.client() for _ in range(3)]
        for client in (poisoner, *others):
            client.release(client.acquire())
        poison = make_items(3, 0)
        poison[1].reshape(-1)[:4] = list(bytes.fromhex("deadbeef"))
        for number, client in enumerate(others):
            submit(client, make_items(8, number))
        submit(poisoner, poison)
        submit(poisoner, make_items(2, 9))
        for number, client in enumerate(others):
            submit(client, make_items(8, 10 + number))
        given_up, spared = poisoner.drain()
        for failure in given_up.rows:
            assert isinstance(failure, ItemFailure)
            assert isinstance(failure.error(), RequestPoisoned)
        assert_right(spared)
        for client in others:
            first, second = client.drain()
            assert_right(first)
            assert_right(second)
        assert host.statistics()["generation"] == 4


def test_a_device_that_hangs_is_noticed_and_its_batch_runs_again() -> None:
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(hang_prefix="deadbeef", fault_generations=1),
        watchdog_seconds=0.3,
    )
    with RunningHost(settings) as host, host.client() as client:
        items = make_items(3, 0)
        items[2].reshape(-1)[:4] = list(bytes.fromhex("deadbeef"))
        submit(client, items)
        assert_right(next(client.drain()))
        assert client.generation == 2


def test_killing_the_supervisor_kills_the_child_and_waiting_ends_in_time() -> None:
    with RunningHost(config()) as host:
        child = host.child()
        client = host.client(host_timeout=1.0)
        assert_right(infer(client, make_items(2, 0)))
        host.process.kill()
        host.process.wait()
        assert process_ends(child, 2.0)
        submit(client, make_items(2, 1))
        with pytest.raises(HostTimeout, match="no life"):
            next(client.drain())


def test_sigterm_ends_supervisor_and_child_within_two_seconds(barrier: Gate) -> None:
    with RunningHost(config(parameters=barrier.parameters)) as host, host.client() as client:
        child = host.child()
        submit(client, gated(2, 0))
        barrier.wait()
        assert host.stop() < 2.0
        assert host.process.returncode == 0
        assert process_ends(child, 0)
        assert not host.socket.exists()


def test_the_host_ends_with_its_driver(tmp_path: Path) -> None:
    folder = Path(f"/proc/self/fd/{os.open(tmp_path, os.O_RDONLY)}")
    leash = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    leash.bind(str(folder / "leash"))
    leash.listen()
    path = tmp_path / "leash"
    with RunningHost(config(), "--leash", str(path)) as host:
        child = host.child()
        leash.close()
        assert host.process.wait(2.0) == 0
        assert process_ends(child, 0)


def test_a_host_whose_driver_is_gone_does_not_start(tmp_path: Path) -> None:
    with RunningHost(config(), "--leash", str(tmp_path / "nobody")) as host:
        assert host.process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("handler", "parameters", "said"),
    [
        ("Digest", {"missing": "m.weights"}, r"ModelNotFound: weights m\.weights do not exist"),
        ("Absent", {}, "HandlerError.*has no class Absent"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_reported_with_its_reason(
    handler: str, parameters: dict[str, str], said: str
) -> None:
    with RunningHost(config(handler, parameters=parameters)) as host, host.client() as client:
        with pytest.raises(HostStartFailed, match=said):
            client.acquire()
        assert host.process.wait(PATIENCE) == 1
        message = Termination.decode(failure_file(host.socket).read_bytes())
        assert message.reason in said
        # Whoever comes later is told too.
        with pytest.raises(HostStartFailed, match=said):
            host.client().acquire()


def test_a_lost_device_ends_the_host_with_a_message_and_clients_wait_for_another() -> None:
    settings = config(backend="simulated", simulated=SimulatedDevice(lost_at_batch=1))
    with RunningHost(settings) as host, host.client(host_timeout=1.0) as client:
        host.child()
        submit(client, make_items(2, 0))
        with pytest.raises(HostTimeout, match="its last words were: injected at batch 1") as raised:
            next(client.drain())
        assert raised.value.retryable
        assert host.process.wait(PATIENCE) == 1
        message = Termination.decode(failure_file(host.socket).read_bytes())
        assert (message.reason, message.permanent) == ("DeviceLost", False)
        # What kubelet does: the container starts again, on the same socket.
        with RunningHost(config(), folder=host.folder) as again:
            again.child()
            assert_right(next(client.drain()))


def test_a_configuration_that_cannot_be_read_is_reported() -> None:
    with RunningHost(config(), "--config", "/nonexistent/host.json") as host:
        assert host.process.wait(PATIENCE) == 1
        with pytest.raises(HostStartFailed, match=r"InvalidSpec.*nonexistent"):
            host.client().acquire()


def test_a_supervisor_that_cannot_work_for_any_reason_leaves_it_in_a_message(
    tmp_path: Path,
) -> None:
    """A reason that nobody thought of, too; another start may do better."""
    taken = tmp_path / "taken"
    taken.mkdir()
    with RunningHost(config(), "--socket", str(taken)) as host:
        assert host.process.wait(PATIENCE) == 1
        message = Termination.decode(failure_file(taken).read_bytes())
        assert message.reason == "IsADirectoryError"
        assert str(taken) in message.message
        assert "_listen" in message.traceback
        assert not message.permanent


@pytest.mark.slow
def test_a_host_that_never_comes_up_is_given_up_with_the_last_reason() -> None:
    with (
        RunningHost(config(parameters={"load": "crash"})) as crashing,
        RunningHost(config(parameters={"load": "error"})) as failing,
    ):
        for host, said in ((crashing, "SIGABRT"), (failing, "the device is busy")):
            assert host.process.wait(60) == 1
            message = Termination.decode(failure_file(host.socket).read_bytes())
            assert not message.permanent
            assert "died 5 times before it was ready" in message.message
            assert said in message.message
            with pytest.raises(HostTimeout, match=said):
                host.client(host_timeout=0.1).acquire()


def test_a_client_waits_for_a_model_that_loads_longer_than_its_timeout(barrier: Gate) -> None:
    parameters = {"load_gate": barrier.parameters["gate"]}
    settings = config(parameters=parameters, alive_seconds=0.1)
    timeout = 1.0
    with (
        RunningHost(settings) as host,
        host.client(host_timeout=timeout) as client,
        ThreadPoolExecutor(1) as thread,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        host.statistics()  # the child's start may take longer than the timeout
        answer = thread.submit(infer, client, make_items(2, 0))
        listener.settimeout(PATIENCE)
        listener.connect(str(host.socket))
        listener.send(encode(Hello(settings.model_key, SHAPE, "uint8", 4, 6, "listens")))
        assert isinstance(decode(listener.recv(4096)), Welcome)
        begun = time.monotonic()
        while time.monotonic() < begun + 1.5 * timeout:
            assert isinstance(decode(listener.recv(4096)), Alive)
        assert not answer.done()
        barrier.open()
        assert_right(answer.result(PATIENCE))
