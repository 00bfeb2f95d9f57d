"""A client dies, as Spark's killed tasks do: without a word, at any point. Nothing of it stays."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpool.host.client import HostClient, ItemFailure
from carpool.host.config import SimulatedDevice
from carpool.host.messages import Stats, StatsRequest
from support.host_handlers import GATED, digest, make_items
from support.host_process import (
    PATIENCE,
    TESTS,
    Gate,
    RunningHost,
    arenas_mapped,
    comes_true,
    config,
    gate,
    open_descriptors,
)
from support.host_victims import STEPS
from support.raw_client import RawClient

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}


@pytest.fixture
def barrier() -> Iterator[Gate]:
    with gate() as made:
        yield made


def serves(client: HostClient, seed: int) -> bool:
    items = make_items(1 + seed % 16, seed)
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items))
    (done,) = client.drain()
    return all(
        not isinstance(rows, ItemFailure) and np.array_equal(rows, digest(item))
        for rows, item in zip(done.rows, items, strict=True)
    )


@dataclass(frozen=True)
class Holdings:
    """What the host's processes hold on behalf of clients."""

    clients: int
    queued: int
    running: int
    arenas: int
    child_descriptors: int
    supervisor_descriptors: int


class Watcher:
    """Looks at a host through one connection of its own, so that looking changes nothing."""

    def __init__(self, host: RunningHost) -> None:
        self._host = host
        self._connection = RawClient(host.socket, host.config)
        self.child = int(self.figures()["pid"])

    def figures(self) -> dict[str, Any]:
        self._connection.say(StatsRequest())
        answer = self._connection.hear()
        assert isinstance(answer, Stats)
        return answer.figures

    def holdings(self) -> Holdings:
        figures = self.figures()
        return Holdings(
            *(figures[name] for name in ("clients", "queued", "running")),
            arenas_mapped(self.child),
            open_descriptors(self.child),
            open_descriptors(self._host.process.pid),
        )

    def sees(self, condition: Callable[[Holdings], bool]) -> bool:
        """Whether the host comes to a state; each question gives its event loop a turn."""
        return comes_true(lambda: condition(self.holdings()))


@pytest.fixture
def loaded() -> Iterator[tuple[RunningHost, HostClient, Watcher]]:
    """A host, a client of it that lives, and what it holds."""
    with RunningHost(config()) as host, host.client() as survivor:
        assert serves(survivor, 0)
        yield host, survivor, Watcher(host)


@contextmanager
def paused(host: RunningHost, step: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client process that has just taken the step and goes no further."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "support.host_victims", str(host.folder)),
            *("step", str(STEPS.index(step) + 1), *options),
        ],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE)[0], f"{step} is not reached"
        assert process.stdout.readline() == b"here\n"
        yield process
        process.kill()


@pytest.mark.parametrize("step", STEPS[:4])
def test_killed_in_the_handshake_while_the_model_loads(step: str, barrier: Gate) -> None:
    parameters = {"load_gate": barrier.parameters["gate"]}
    with RunningHost(config(parameters=parameters)) as host, host.client() as survivor:
        watcher = Watcher(host)
        before = watcher.holdings()
        with paused(host, step) as victim:
            if step == "OFFER":
                assert watcher.sees(lambda now: now.arenas == 1)
            victim.kill()
            victim.wait()
            assert watcher.sees(lambda now: now == before)
        barrier.open()
        assert serves(survivor, 1)


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_each_step(step: str, loaded: tuple[RunningHost, HostClient, Watcher]) -> None:
    host, survivor, watcher = loaded
    before = watcher.holdings()
    with paused(host, step) as victim:
        victim.kill()
        victim.wait()
        assert watcher.sees(lambda now: now == before)
    assert serves(survivor, 1)
    assert survivor.generation == 1


def test_killed_while_its_request_is_queued(barrier: Gate) -> None:
    with RunningHost(config(parameters=barrier.parameters)) as host, host.client() as survivor:
        assert serves(survivor, 0)
        watcher = Watcher(host)
        mine = make_items(3, 1)
        mine[0, 0, 0, 0] = GATED
        slot = survivor.acquire()
        slot.items[:3] = mine
        survivor.submit(slot, 3)
        barrier.wait()
        before = watcher.holdings()
        with paused(host, "SUBMIT") as victim:
            assert watcher.sees(lambda now: now.queued == 8)
            victim.kill()
            victim.wait()
            assert watcher.sees(lambda now: now == before)
        barrier.open()
        (done,) = survivor.drain()
        assert all(map(np.array_equal, done.rows, map(digest, mine)))
        assert watcher.figures()["requests"] == 2, "somebody computed for the dead"


@pytest.mark.parametrize("backend", ["numpy", "simulated"])
def test_killed_while_the_device_has_its_items_whose_memory_stays_until_the_batch_is_done(
    backend: str, barrier: Gate
) -> None:
    settings = config(backend=backend, parameters=barrier.parameters)
    with RunningHost(settings) as host, host.client() as survivor:
        assert serves(survivor, 0)
        watcher = Watcher(host)
        before = watcher.holdings()
        with paused(host, "SUBMIT", "gated") as victim:
            barrier.wait()
            during = watcher.holdings()
            assert (during.running, during.arenas) == (8, before.arenas + 1)
            victim.kill()
            victim.wait()
            # Its connection ends, its memory does not.
            assert watcher.sees(lambda now: now.child_descriptors < during.child_descriptors)
            assert watcher.holdings().arenas == before.arenas + 1
            assert watcher.holdings().running == 8
        barrier.open()
        assert watcher.sees(lambda now: now == before)
        assert serves(survivor, 1)


def test_a_forked_process_neither_disturbs_its_parents_client_nor_needs_it() -> None:
    """As Spark forks workers, and user code forks in them."""
    with RunningHost(config()) as host, host.client() as parent:
        items = make_items(5, 0)
        slot = parent.acquire()
        slot.items[:5] = items
        parent.submit(slot, 5)
        forked = os.fork()
        if forked == 0:
            code = 1
            try:
                with host.client() as own:
                    code = 0 if serves(own, 1) else 1
            finally:
                os._exit(code)
        assert os.waitpid(forked, 0)[1] == 0
        (done,) = parent.drain()
        for rows, item in zip(done.rows, items, strict=True):
            assert np.array_equal(rows, digest(item))
        assert Watcher(host).sees(lambda now: now.clients == 1)


DEATHS = 1000
BLOCK = 100
SEED = int(os.environ.get("CARPOOL_TEST_SEED", random.SystemRandom().randrange(1 << 31)))


def resident(pid: int) -> int:
    """Bytes of a process's own memory, without what it shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) << 10


def kill_many(host: RunningHost, seed: int) -> Counter[str]:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "support.host_victims", str(host.folder)),
            *("deaths", str(seed), str(BLOCK)),
        ],
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=120,
    )
    return Counter(json.loads(ended.stdout))


@pytest.mark.slow
def test_a_thousand_deaths_at_random_points_cost_no_descriptor_no_memory_and_no_slot() -> None:
    print(f"CARPOOL_TEST_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(base_ms=1, item_ms=0.05, depth=2),
        expected_clients=4,
    )
    begun = time.monotonic()
    with (
        RunningHost(settings) as host,
        host.client() as survivor,
        ThreadPoolExecutor(1) as beside,
    ):
        assert serves(survivor, 0)
        watcher = Watcher(host)
        before, credits_before = watcher.holdings(), watcher.figures()["credits"]
        memory: list[tuple[int, int]] = []
        ended: Counter[str] = Counter()
        for first in range(0, DEATHS, BLOCK):
            dying = beside.submit(kill_many, host, SEED + first)
            served = 0
            while not dying.done():
                served += 1
                assert serves(survivor, served), "the survivor got rows that are not its own"
            ended += dying.result()
            assert watcher.sees(lambda now: now == before), (before, watcher.holdings())
            memory.append((resident(watcher.child), resident(host.process.pid)))
        figures = watcher.figures()
        assert figures["credits"] == credits_before
        assert figures["generation"] == 1, "the host died of a client"
        assert survivor.generation == 1
    print(ended, memory, time.monotonic() - begun)  # noqa: T201 - as above
    assert ended.total() == DEATHS
    assert ended["2"] == ended["3"] == 0, "a victim saw an error before it died"
    assert ended["-9"] + ended["-14"] > 0.7 * DEATHS, "most are to die in the middle"
    # The allocator settles in the first blocks; what leaks goes on growing. An arena would show
    # above, a session with its requests has several kilobytes.
    for process in (0, 1):
        settled, last = memory[2][process], memory[-1][process]
        assert last - settled < 512 * 1024, [each[process] >> 10 for each in memory]
