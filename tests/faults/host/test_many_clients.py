"""Three hundred clients at once; clients and host of different users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from carpool.host.client import HostClient, ItemFailure
from carpool.host.config import SimulatedDevice
from support.host_handlers import GATED, digest, make_items
from support.host_process import (
    PATIENCE,
    TESTS,
    RunningHost,
    arenas_mapped,
    config,
    gate,
    open_descriptors,
)

CLIENTS = 300
SECONDS = 60.0
"""It takes about three; a cost that grows with the square of the clients would show."""


def submit(client: HostClient, count: int, seed: int, *, first_byte: int = 1) -> None:
    items = make_items(count, seed)
    items[0, 0, 0, 0] = first_byte
    slot = client.acquire()
    slot.items[:count] = items
    client.submit(slot, count, items)


def in_flight(host: RunningHost) -> int:
    figures = host.statistics()
    return int(figures["queued"] + figures["running"])


def check(client: HostClient, requests: int) -> None:
    answered = list(client.drain())
    assert len(answered) == requests
    for done in answered:
        for rows, item in zip(done.rows, done.tag, strict=True):
            assert not isinstance(rows, ItemFailure), rows
            assert np.array_equal(rows, digest(item)), "rows of another client's item"


@pytest.mark.slow
def test_three_hundred_clients_with_requests_in_flight_all_get_their_rows() -> None:
    with gate() as barrier:
        settings = config(
            backend="simulated",
            simulated=SimulatedDevice(base_ms=2, item_ms=0.02, depth=2),
            parameters=barrier.parameters,
            expected_clients=CLIENTS,
            max_batch=64,
        )
        with RunningHost(settings) as host:
            child, supervisor = host.child(), host.process.pid
            assert host.settles(lambda: host.statistics()["clients"] == 0)
            before, above = open_descriptors(child), open_descriptors(supervisor)
            begun = time.monotonic()
            clients = [host.client() for _ in range(CLIENTS)]
            submit(clients[0], 1, 0, first_byte=GATED)
            barrier.wait()
            for turn in range(2):
                for number, client in enumerate(clients[1:], 1):
                    submit(client, 1 + (number + turn) % 4, 1000 * turn + number)
            # All are connected and mapped, and nothing of all that is answered yet.
            waiting = sum(1 + (n + turn) % 4 for turn in range(2) for n in range(1, CLIENTS))
            assert host.settles(lambda: in_flight(host) == waiting + 1)
            assert host.statistics()["clients"] == CLIENTS
            assert arenas_mapped(child) == CLIENTS
            # A socket and a mapping each, and the asker's own.
            assert open_descriptors(child) <= before + 2 * CLIENTS + 1
            barrier.open()
            check(clients[0], 1)
            for client in clients[1:]:
                check(client, 2)
            assert host.child() == child
            assert host.statistics()["failed_items"] == 0
            for client in clients:
                client.close()
            assert host.settles(lambda: host.statistics()["clients"] == 0)
            assert host.settles(lambda: open_descriptors(child) <= before)
            assert arenas_mapped(child) == 0
            assert open_descriptors(supervisor) == above
            assert time.monotonic() - begun < SECONDS


@pytest.mark.slow
def test_three_hundred_clients_come_back_to_a_host_that_died() -> None:
    with RunningHost(config(expected_clients=CLIENTS)) as host:
        clients = [host.client() for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            submit(client, 2, number)
        os.kill(host.child(), 9)
        for client in clients:
            check(client, 1)
        assert host.statistics()["generation"] == 2
        for number, client in enumerate(clients):
            submit(client, 2, number)
        for client in clients:
            check(client, 1)


GROUP = 54321
"""What a pod's fsGroup is: the group that owns the folder, and that each container's user has."""
HOST_USER, TASK_USER = 54001, 54002

TASK = """
import os, sys
from pathlib import Path
import numpy as np
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE, digest, make_items
from carpool.errors import CarpoolError
from carpool.host.client import HostClient
make_items(1, 0)
user, groups = int(sys.argv[3]), [int(each) for each in sys.argv[4:]]
os.setgroups(groups)
os.setgid(user)
os.setuid(user)
client = HostClient(Path(sys.argv[1]), model_key=sys.argv[2], item_shape=SHAPE,
                    output_rows=OUTPUT_ROWS, row_width=ROW_WIDTH, host_timeout=10)
try:
    slot = client.acquire()
except CarpoolError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(7)
items = make_items(9, user)
slot.items[:9] = items
client.submit(slot, 9)
(done,) = client.drain()
assert all(map(np.array_equal, done.rows, map(digest, items)))
"""


def run_task(host: RunningHost, user: int, *groups: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-c", TASK, str(host.socket), host.config.model_key),
            *map(str, (user, *groups)),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder as kubelet makes it for an fsGroup: of the group, which new files inherit."""
    folder = Path(tempfile.mkdtemp(prefix="cph"))
    os.chown(folder, HOST_USER, GROUP)
    folder.chmod(0o2770)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def as_host_user() -> tuple[str, ...]:
    """A command that runs the rest as the host's user, who has none of root's rights."""
    return ("setpriv", f"--reuid={HOST_USER}", f"--regid={HOST_USER}", f"--groups={GROUP}")


def others_can_start_it() -> bool:
    """Whether the host's user can read the checkout and Python, as it can in an image."""
    spawn = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import carpool.host'])"
    tried = subprocess.run(
        [*as_host_user(), sys.executable, "-c", spawn + ".check_returncode()"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return tried.returncode == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can become other users; needs setpriv(1)",
)
@pytest.mark.parametrize("host_user", [0, HOST_USER])
def test_host_and_tasks_are_different_users_of_one_group_and_nobody_else_is_served(
    host_user: int, shared_folder: Path
) -> None:
    if host_user and not others_can_start_it():
        pytest.skip("the checkout cannot be read by other users")
    prefix = as_host_user() if host_user else ()
    with RunningHost(config(), folder=shared_folder, prefix=prefix) as host:
        assert Path(f"/proc/{host.statistics()['pid']}").stat().st_uid == host_user
        stat = host.socket.stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (host_user, GROUP, 0o660)
        assert run_task(host, TASK_USER, GROUP).returncode == 0
        stranger = run_task(host, TASK_USER)
        assert stranger.returncode == 7
        assert "HostError: cannot connect" in stranger.stdout
        # It is not only the folder that keeps strangers out.
        shared_folder.chmod(0o2777)
        stranger = run_task(host, TASK_USER)
        assert stranger.returncode == 7
        assert "Permission denied" in stranger.stdout
        assert run_task(host, TASK_USER, GROUP).returncode == 0
        assert host.statistics()["generation"] == 1
