"""Told to end, supervisor and child are gone within two seconds, whatever they are doing."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from carpool.host.client import HostClient
from carpool.host.config import HostConfig, SimulatedDevice
from support.host_handlers import GATED, make_items
from support.host_process import PATIENCE, Gate, RunningHost, config, gate, process_ends

SECONDS = 2.0


@pytest.fixture
def barrier() -> Iterator[Gate]:
    with gate() as made:
        yield made


def submit(client: HostClient, first_bytes: bytes) -> None:
    items = make_items(2, 0)
    items[1].reshape(-1)[: len(first_bytes)] = np.frombuffer(first_bytes, np.uint8)
    slot = client.acquire()
    slot.items[:2] = items
    client.submit(slot, 2)


def child_of(host: RunningHost) -> int:
    """The child's process, also where it does not answer."""
    pid = host.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def assert_ends(host: RunningHost, child: int) -> None:
    assert host.stop() < SECONDS
    assert host.process.returncode == 0
    assert process_ends(child, 0)
    assert not host.socket.exists()


def test_while_the_model_loads(barrier: Gate) -> None:
    parameters = {"load_gate": barrier.parameters["gate"]}
    with RunningHost(config(parameters=parameters)) as host:
        assert not host.statistics()["loaded"]
        assert_ends(host, child_of(host))


def test_while_nothing_happens() -> None:
    with RunningHost(config()) as host:
        assert_ends(host, host.child())


def test_while_it_computes(barrier: Gate) -> None:
    with RunningHost(config(parameters=barrier.parameters)) as host, host.client() as client:
        submit(client, bytes([GATED]))
        barrier.wait()
        assert_ends(host, child_of(host))


@pytest.mark.parametrize(
    "settings",
    [
        config(backend="simulated", simulated=SimulatedDevice(hang_prefix="deadbeef")),
        config("Stuck"),
    ],
    ids=["the device", "code that holds Python's lock"],
)
def test_while_something_hangs(settings: HostConfig, barrier: Gate) -> None:
    parameters = barrier.parameters
    settings = HostConfig(**{**_fields(settings), "parameters": parameters})
    with RunningHost(settings) as host, host.client() as client:
        child = host.child()
        submit(client, bytes.fromhex("deadbeef"))
        if settings.backend is None:
            barrier.wait()
        else:
            assert host.settles(lambda: host.statistics()["running"] == 2)
        assert_ends(host, child)


def _fields(settings: HostConfig) -> dict[str, object]:
    return {name: getattr(settings, name) for name in HostConfig.__dataclass_fields__}


def test_while_the_next_start_waits_its_time(barrier: Gate) -> None:
    """A model that crashes as it loads: two seconds pass between the third death and a start."""
    settings = config(parameters={"load": "crash", "announce": barrier.parameters["announce"]})
    with RunningHost(settings) as host:
        for _ in range(3):
            barrier.wait()
            child = child_of(host)
        assert process_ends(child)
        assert_ends(host, child)
        assert "generation 4" not in host.log.read_text()


def test_while_clients_are_connected_and_more_wait(barrier: Gate) -> None:
    parameters = {"load_gate": barrier.parameters["gate"]}
    with RunningHost(config(parameters=parameters)) as host:
        assert not host.statistics()["loaded"]
        child = child_of(host)
        os.kill(child, signal.SIGSTOP)  # nobody accepts them
        waiting = [host.client() for _ in range(3)]
        for client in waiting:
            client._link.be_patient()
            client._link.connect()
        assert_ends(host, child)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare(1)"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_process_1_of_a_container(number: signal.Signals) -> None:
    """Process 1 gets no signal that it has no handler for, and inherits every orphan."""
    prefix = ("unshare", "--pid", "--fork", "--kill-child")
    with RunningHost(config("LeavesOrphan"), prefix=prefix) as host, host.client() as client:
        submit(client, b"\1")
        assert list(client.drain())
        supervisor = child_of(host)  # the process that the kernel calls 1
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
        assert host.settles(lambda: len(children.read_text().split()) == 1), "orphans stay zombies"
        child = int(children.read_text())
        handles = [os.pidfd_open(pid) for pid in (supervisor, child)]
        os.kill(supervisor, number)
        for handle in handles:
            assert select.select([handle], [], [], SECONDS)[0]
            os.close(handle)
        assert host.process.wait(PATIENCE) == 0


def test_what_the_child_has_started_ends_with_it() -> None:
    """A helper process of a handler would keep the device's memory, the lock and the socket."""
    with RunningHost(config("Helped")) as host, host.client() as client:
        submit(client, b"\1")
        (done,) = client.drain()
        helper = int(done.rows[0][0, 0])
        child = host.child()
        assert not process_ends(helper, 0)
        os.kill(child, signal.SIGKILL)
        assert process_ends(helper)
        submit(client, b"\1")
        (again,) = client.drain()
        second = int(again.rows[0][0, 0])
        assert second != helper
        assert host.stop() < SECONDS
        assert process_ends(second, 0.5)
