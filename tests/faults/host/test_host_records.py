"""A host of records: clients of any format, results of any size, and its own end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, ensure_host, wait_for_end
from carpool.host.messages import FailureCode
from support.host_process import PATIENCE, TESTS, RunningHost
from support.host_records import BAD


def settings(**fields: Any) -> HostConfig:
    return HostConfig(
        handler="support.host_records:Echo",
        backend="records",
        python_path=(TESTS,),
        threads=1,
        **({"max_batch": 64, "request_items": 64} | fields),
    )


def client_of(host: RunningHost, schema: str, size: int = 4, room: int = 64) -> HostClient:
    return host.client(
        item_shape=(size,), output_rows=room, row_width=1, row_dtype="uint8", schema=schema
    )


def ask(client: HostClient, *firsts: int) -> Completed:
    slot = client.acquire()
    slot.items[: len(firsts)] = np.array(firsts, np.uint8)[:, None]
    client.submit(slot, len(firsts))
    (done,) = client.drain()
    return done


@pytest.fixture(scope="module")
def host() -> Iterator[RunningHost]:
    with RunningHost(settings()) as running:
        yield running


def test_clients_of_different_formats_are_served_by_one_host(host: RunningHost) -> None:
    with client_of(host, "abc", size=4) as one, client_of(host, "abcdef", size=9) as other:
        for client, length, size in ((one, 3, 4), (other, 6, 9)):
            done = ask(client, 7, 8)
            assert [row[:, 0].tolist() for row in done.rows if isinstance(row, np.ndarray)] == [
                [length, 2, *[first] * size] for first in (7, 8)
            ]


def test_a_result_that_does_not_fit_says_how_much_room_it_needs() -> None:
    with RunningHost(settings(parameters={"repeat": 100})) as host:
        with client_of(host, "x", room=64) as small:
            (failure,) = ask(small, 1).rows
        assert isinstance(failure, ItemFailure)
        assert failure.code is FailureCode.CAPACITY
        with client_of(host, "x", room=int(failure.message)) as large:
            (row,) = ask(large, 1).rows
        assert not isinstance(row, ItemFailure)
        assert len(row) == 402


def test_a_request_with_a_bad_record_is_not_run_to_its_end(host: RunningHost) -> None:
    with client_of(host, "x") as client:
        failures = ask(client, *[BAD] * 64).rows
    said = {failure.message for failure in failures if isinstance(failure, ItemFailure)}
    assert len(failures) == 64
    # All at once, then halves down to the first record; the others are not tried one by one.
    assert len(said) == 1
    splits = host.statistics()["splits"]
    assert splits == 6


def test_a_host_without_requests_ends_for_good() -> None:
    with RunningHost(settings(idle_seconds=0.2)) as host:
        with client_of(host, "x") as client:
            ask(client, 1)
            assert host.process.wait(PATIENCE) == 0  # also while a client is connected
        assert not host.socket.exists()


OWNED = """
import os, sys
from pathlib import Path
from carpool.host.launch import ensure_host
ensure_host(Path(sys.argv[1]), owner=int(sys.argv[2]))
"""


def test_a_host_ends_with_the_process_whose_pidfd_it_was_given() -> None:
    with tempfile.TemporaryDirectory(prefix="cpo") as name:
        folder = Path(name)
        settings().write(folder / CONFIG_NAME)
        owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        descriptor = os.pidfd_open(owner.pid)
        try:
            starter = [sys.executable, "-c", OWNED, name, str(descriptor)]
            subprocess.run(starter, check=True, pass_fds=[descriptor])
            # It outlives who started it, and the next to ask finds it.
            assert not select.select([descriptor], [], [], 0)[0]
            assert not wait_for_end(folder, 0)
            ensure_host(folder, owner=descriptor)
        finally:
            owner.communicate(b"\n")
            os.close(descriptor)
        assert wait_for_end(folder, PATIENCE)
