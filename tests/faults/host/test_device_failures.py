"""The device or the model fails: whoever is not to blame gets its rows."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carpool.errors import HostTimeout, InferenceFailed
from carpool.host.arena import SlotState
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import SimulatedDevice
from carpool.host.messages import Alive, Done, FailureCode, Submit
from carpool.host.protocol import decode
from carpool.host.termination import MAX_BYTES, Termination, failure_file
from support.host_handlers import BAD, GATED, digest, make_items
from support.host_process import PATIENCE, Gate, RunningHost, config, gate, process_ends
from support.raw_client import RawClient

PREFIX = "deadbeef"


@pytest.fixture
def barrier() -> Iterator[Gate]:
    with gate() as made:
        yield made


def marked(count: int, seed: int, *, at: int, prefix: bytes = bytes.fromhex(PREFIX)) -> np.ndarray:
    items = make_items(count, seed)
    items[at].reshape(-1)[: len(prefix)] = list(prefix)
    return items


def submit(client: HostClient, items: np.ndarray) -> None:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items), items)


def assert_right(done: Completed) -> None:
    for rows, item in zip(done.rows, done.tag, strict=True):
        assert not isinstance(rows, ItemFailure), rows
        assert np.array_equal(rows, digest(item))


def gather(host: RunningHost, barrier: Gate, requests: dict[HostClient, np.ndarray]) -> None:
    """Have these requests wait for the device together, which then takes them at once."""
    with host.client() as first:
        submit(first, marked(1, 0, at=0, prefix=bytes([GATED])))
        barrier.wait()
        for client, items in requests.items():
            submit(client, items)
        waiting = sum(map(len, requests.values()))
        assert host.settles(lambda: host.statistics()["queued"] == waiting)
        barrier.open()
        assert_right(next(first.drain()))


def test_a_batch_beyond_the_memory_is_halved_and_every_client_gets_its_rows(barrier: Gate) -> None:
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(oom_at_batch=2),
        parameters=barrier.parameters,
    )
    with RunningHost(settings) as host:
        clients = [host.client() for _ in range(4)]
        requests = {client: make_items(4, n) for n, client in enumerate(clients)}
        for client in clients:
            client.release(client.acquire())
        gather(host, barrier, requests)
        for client in clients:
            (done,) = client.drain()
            assert_right(done)
            assert done.timing is not None
            assert done.timing.batch_items == 8
        figures = host.statistics()
        assert figures["splits"] == 1
        assert figures["failed_items"] == 0
        assert figures["generation"] == 1


def test_an_item_that_alone_is_too_much_fails_alone() -> None:
    """Nothing else is lost, and the limit for batches is not the one item's fault."""
    settings = config(backend="simulated", simulated=SimulatedDevice(oom_at_batch=1))
    with RunningHost(settings) as host, host.client() as one, host.client() as other:
        submit(one, make_items(1, 0))
        (done,) = one.drain()
        (failure,) = done.rows
        assert isinstance(failure, ItemFailure)
        assert failure.code is FailureCode.MEMORY
        assert failure.error().retryable, "the item did nothing wrong"
        assert "injected at batch 1" in failure.message
        submit(other, make_items(16, 1))
        submit(one, make_items(16, 2))
        assert_right(next(other.drain()))
        assert_right(next(one.drain()))
        assert host.statistics()["max_batch"] == 16


@pytest.mark.parametrize("culprits", [(0,), (15,), (3, 4), tuple(range(16))])
def test_bad_items_are_found_in_a_batch_of_several_clients(
    culprits: tuple[int, ...], barrier: Gate
) -> None:
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(bad_prefix=PREFIX),
        parameters=barrier.parameters,
        max_batch=32,
    )
    with RunningHost(settings) as host:
        guilty, innocent = host.client(), [host.client() for _ in range(2)]
        for client in (guilty, *innocent):
            client.release(client.acquire())
        bad = make_items(16, 0)
        for culprit in culprits:
            bad[culprit].reshape(-1)[:4] = list(bytes.fromhex(PREFIX))
        gather(host, barrier, {guilty: bad, innocent[0]: make_items(5, 1)})
        (done,) = guilty.drain()
        for index, (rows, item) in enumerate(zip(done.rows, bad, strict=True)):
            if index in culprits:
                assert isinstance(rows, ItemFailure)
                assert rows.code is FailureCode.INFERENCE
                assert isinstance(rows.error(), InferenceFailed)
            else:
                assert not isinstance(rows, ItemFailure)
                assert np.array_equal(rows, digest(item))
        assert_right(next(innocent[0].drain()))
        assert host.statistics()["failed_items"] == len(culprits)


def test_a_lost_device_ends_the_supervisor_with_a_message_that_kubernetes_shows_whole() -> None:
    settings = config(backend="simulated", simulated=SimulatedDevice(lost_at_batch=1))
    with RunningHost(settings) as host, host.client(host_timeout=1.0) as client:
        host.child()  # its start may take longer than this client's patience
        submit(client, make_items(2, 0))
        with pytest.raises(HostTimeout, match="injected at batch 1"):
            next(client.drain())
        assert host.process.wait(PATIENCE) == 1
        raw = failure_file(host.socket).read_bytes()
        assert len(raw) <= MAX_BYTES
        message = Termination.decode(raw)
        assert (message.reason, message.permanent) == ("DeviceLost", False)
        assert "settle" in message.traceback, "its end shows where"
        assert not host.socket.exists()
        assert "generation 2" not in host.log.read_text(), "on a lost device nobody starts again"


def test_a_request_that_was_running_at_two_deaths_runs_alone(barrier: Gate) -> None:
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(crash_prefix=PREFIX, fault_generations=2),
        parameters=barrier.parameters,
        watchdog_seconds=30,
    )
    with RunningHost(settings) as host, ThreadPoolExecutor(4) as threads:
        suspect, others = host.client(), [host.client() for _ in range(3)]
        for client in (suspect, *others):
            client.release(client.acquire())
        requests = {suspect: marked(3, 0, at=1)}
        requests |= {client: make_items(4, n) for n, client in enumerate(others)}
        gather(host, barrier, requests)
        # All at once, as tasks do: they come back to each generation while it loads.
        done, *rest = (one for (one,) in threads.map(lambda each: list(each.drain()), requests))
        for one in (done, *rest):
            assert_right(one)
        assert suspect.generation == 3
        assert done.timing is not None
        assert done.timing.batch_items == 3


def test_a_batch_that_hangs_in_code_that_holds_pythons_lock_is_noticed_too(
    barrier: Gate, tmp_path: Path
) -> None:
    """No thread of the child runs any more, its watchdog least of all."""
    parameters = {**barrier.parameters, "once": str(tmp_path / "once")}
    settings = config("Stuck", parameters=parameters, watchdog_seconds=0.5)
    with RunningHost(settings) as host, host.client() as client:
        submit(client, marked(3, 0, at=2))
        barrier.wait()
        assert_right(next(client.drain()))
        assert client.generation == 2
        log = host.log.read_text()
        assert "generation 1 is stuck" in log
        assert re.search(r'File ".*host_handlers\.py", line \d+ in predict', log), log


def test_a_batch_slower_than_predicted_is_waited_for(barrier: Gate) -> None:
    """It runs for a hundred times what was predicted, and the watchdog looks on."""
    settings = config(parameters=barrier.parameters, watchdog_seconds=30, alive_seconds=0.1)
    with RunningHost(settings) as host, RawClient(host.socket, settings) as client:
        client.shake_hands()
        assert client.arena is not None
        client.arena.items[0, :2] = marked(2, 0, at=0, prefix=bytes([GATED]))
        client.say(Submit(0, 0, 2, 0))
        barrier.wait()
        figures = host.statistics()
        predicted = (figures["batch_base_ms"] + 2 * figures["batch_item_ms"]) / 1e3
        assert predicted < 0.01
        for _ in range(10):  # a second's signs of life
            assert isinstance(decode(client.socket.recv(4096)), Alive)
        barrier.open()
        assert isinstance(client.hear(), Done)
        assert host.statistics()["generation"] == 1


def test_a_batch_as_long_as_predicted_outlasts_the_watchdogs_time() -> None:
    device = SimulatedDevice(base_ms=500)
    settings = config(backend="simulated", simulated=device, watchdog_seconds=0.1)
    with RunningHost(settings) as host, host.client() as client:
        submit(client, make_items(2, 0))
        assert_right(next(client.drain()))
        assert client.generation == 1


def test_a_load_that_hangs_is_ended_and_tried_again() -> None:
    with gate() as barrier:
        settings = config(parameters={"load_gate": barrier.parameters["gate"]}, load_seconds=1.0)
        with RunningHost(settings) as host, host.client() as client:
            assert process_ends(host.statistics()["pid"])
            assert "the model has been loading for" in host.log.read_text()
            barrier.open()
            submit(client, make_items(3, 0))
            assert_right(next(client.drain()))
            assert client.generation == 2


def test_a_death_counts_only_against_requests_that_are_on_the_device(barrier: Gate) -> None:
    """A batch was split for a bad item; what waits for its turn is not running any more."""
    settings = config(parameters=barrier.parameters, max_batch=8)
    with RunningHost(settings) as host, host.client() as runs, host.client() as waits:
        child = host.child()
        requests = {
            runs: marked(4, 1, at=0, prefix=bytes([GATED])),
            waits: marked(4, 2, at=3, prefix=bytes([BAD])),
        }
        gather(host, barrier, requests)
        barrier.wait()  # the first half of the batch
        for client, state in ((runs, SlotState.RUNNING), (waits, SlotState.QUEUED)):
            (request,) = client._ledger.open
            assert client._mapped().states[request.slot] == state
        os.kill(child, signal.SIGKILL)
        assert process_ends(child)
        barrier.open(2)
        assert_right(next(runs.drain()))
        assert isinstance(next(waits.drain()).rows[3], ItemFailure)


def test_what_spoiled_one_process_is_left_out_by_all_that_follow() -> None:
    settings = replace(config(), handler="support.host_handlers:SpoiledByGraphs")
    with RunningHost(settings) as host, host.client() as client:
        for generation in (2, 3):
            submit(client, make_items(3, generation))
            assert_right(next(client.drain()))
            assert host.statistics()["generation"] == generation
            child = host.child()
            os.kill(child, signal.SIGKILL)
            assert process_ends(child)
        assert "from now on without cuda_graphs" in host.log.read_text()
