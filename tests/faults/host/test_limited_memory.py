"""Memory of arenas is charged to the host, which touches it first; an executor needs none for it.

The tasks run in a memory cgroup whose limit is below the sum of their arenas, as the executor's
container of a pod is; the host runs outside, as the sidecar does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from carpool.host.config import HostConfig
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH
from support.host_process import TESTS, RunningHost, config
from support.memory_cgroups import MemoryCgroup, memory_cgroup

pytestmark = pytest.mark.slow

SHAPE = (256, 256, 3)
TASKS = 3
LIMIT = 160 << 20
"""Enough for three tasks' interpreters with numpy, less than their arenas."""

TASK = f"""
import sys
from pathlib import Path
import numpy as np
from support.host_handlers import digest
from carpool.host.arena import ArenaLayout, SlotFormat, create_arena
from carpool.host.client import HostClient
socket, key, first = sys.argv[1:]
shape, rows, width = {SHAPE}, {OUTPUT_ROWS}, {ROW_WIDTH}
client = HostClient(Path(socket), model_key=key, item_shape=shape, output_rows=rows,
                    row_width=width, host_timeout=30)
slots = [client.acquire()]  # the host says how large the arena is
layout = client._arena.layout
if first == "task":  # the mistake: an arena that this process touches before the host
    arena, descriptor = create_arena(layout)
    arena.memory[:] = 1
    print("touched", layout.size, flush=True)
    input()
    sys.exit()
while len(slots) < layout.slots:
    slots.append(client.acquire())
for slot in slots:
    slot.items[:] = slot.index + 1  # every page of it
for slot in slots:
    client.submit(slot, 1, slot.index)
for done in client.drain():
    item = np.full(shape, done.tag + 1, np.uint8)
    assert np.array_equal(done.rows[0], digest(item)), done.tag
print("touched", layout.size, flush=True)
input()
"""


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    with memory_cgroup(LIMIT) as made:
        yield made


@pytest.fixture(scope="module")
def settings() -> HostConfig:
    return config(
        parameters={"shape": SHAPE}, max_batch=288, expected_clients=TASKS, request_items=16
    )


def run_tasks(host: RunningHost, cgroup: MemoryCgroup, first: str) -> tuple[list[int], list[int]]:
    """Run the tasks side by side; gives the bytes of each arena, and the tasks' return codes."""
    tasks = [
        subprocess.Popen(
            [
                *(*cgroup.prefix, sys.executable, "-c", TASK),
                *(str(host.socket), host.config.model_key, first),
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(TASKS)
    ]
    sizes = []
    for task in tasks:  # all arenas are in use at once, or a task died
        assert task.stdout is not None
        if words := task.stdout.readline().split():
            sizes.append(int(words[1]))
    for task in tasks:
        task.communicate("\n", timeout=60)
    return sizes, [task.returncode for task in tasks]


def test_tasks_limited_below_the_sum_of_their_arenas_pass(
    settings: HostConfig, cgroup: MemoryCgroup
) -> None:
    with RunningHost(settings) as host:
        sizes, codes = run_tasks(host, cgroup, first="host")
        assert codes == [0] * TASKS
        assert sum(sizes) > LIMIT, "the arenas would have fitted: this shows nothing"
        assert cgroup.peak_bytes < sum(sizes), "somebody was charged for the arenas"
        assert host.statistics()["failed_items"] == 0


def test_tasks_that_touched_their_arenas_first_would_be_killed(
    settings: HostConfig, cgroup: MemoryCgroup
) -> None:
    """The same tasks, limit and sizes: without it the test above would prove nothing."""
    with RunningHost(settings) as host:
        _, codes = run_tasks(host, cgroup, first="task")
        assert -9 in codes
        assert host.statistics()["generation"] == 1, "it is no business of the host"
