"""The way of a machine without Kubernetes: tasks start the host, the driver holds its leash."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpool.errors import HostStartFailed
from carpool.host.client import HostClient, ItemFailure
from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, LOG_NAME, Leash, ensure_host, wait_for_end
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE, digest, make_items
from support.host_process import PATIENCE, config, process_ends

ENSURE = """
import sys
from pathlib import Path
from carpool.host.launch import ensure_host
print(ensure_host(Path(sys.argv[1])))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cpl") as made:
        yield Path(made)
        assert wait_for_end(Path(made), PATIENCE), "a host is left behind"


def client(folder: Path, settings: HostConfig, **options: Any) -> HostClient:
    return HostClient(
        ensure_host(folder),
        model_key=settings.model_key,
        item_shape=SHAPE,
        output_rows=OUTPUT_ROWS,
        row_width=ROW_WIDTH,
        host_timeout=PATIENCE,
        **options,
    )


def serves(one: HostClient) -> bool:
    items = make_items(3, 0)
    slot = one.acquire()
    slot.items[:3] = items
    one.submit(slot, 3)
    (done,) = one.drain()
    return all(
        not isinstance(rows, ItemFailure) and np.array_equal(rows, digest(item))
        for rows, item in zip(done.rows, items, strict=True)
    )


def starts(folder: Path) -> int:
    return (folder / LOG_NAME).read_text().count("generation 1 started")


def supervisor(one: HostClient) -> int:
    status = Path(f"/proc/{one.statistics()['pid']}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def test_tasks_that_race_start_one_host(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    with Leash(folder):
        tasks = [
            subprocess.Popen(
                [sys.executable, "-c", ENSURE, str(folder)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        sockets = {task.communicate(timeout=60)[0].strip() for task in tasks}
        assert [task.returncode for task in tasks] == [0] * 4
        assert sockets == {str(folder / "host.sock")}
        with client(folder, config()) as one:
            assert serves(one)
    assert starts(folder) == 1


def test_the_host_outlives_the_task_that_started_it_and_all_its_group(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    with Leash(folder):
        task = subprocess.Popen(
            [sys.executable, "-c", ENSURE + "input()", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert task.stdout is not None
        assert task.stdin is not None
        assert task.stdout.readline()
        os.killpg(task.pid, signal.SIGKILL)
        task.wait()
        task.stdin.close()
        task.stdout.close()
        with client(folder, config()) as one:
            assert serves(one)
    assert starts(folder) == 1


def test_the_host_ends_within_two_seconds_of_a_driver_that_was_killed(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    program = """
import sys
from pathlib import Path
from carpool.host.launch import Leash
leash = Leash(Path(sys.argv[1]))
print("held", flush=True)
input()
"""
    driver = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert driver.stdout is not None
    assert driver.stdin is not None
    assert driver.stdout.readline() == b"held\n"
    with client(folder, config()) as one:
        assert serves(one)
        processes = [one.statistics()["pid"], supervisor(one)]
    assert not wait_for_end(folder, 0)
    driver.kill()
    driver.wait()
    assert wait_for_end(folder, 2.0)
    assert process_ends(processes[0], 0)
    driver.stdin.close()
    driver.stdout.close()


def test_a_killed_supervisor_is_replaced_while_a_client_waits(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    with Leash(folder), client(folder, config(), revive=lambda: ensure_host(folder)) as one:
        assert serves(one)
        first, child = one.host_id, one.statistics()["pid"]
        os.kill(supervisor(one), signal.SIGKILL)
        assert process_ends(child)
        assert serves(one)
        assert one.host_id != first
        assert one.generation == 1


def test_a_host_that_cannot_work_is_not_started_again(folder: Path) -> None:
    settings = config(parameters={"missing": "m.weights"})
    settings.write(folder / CONFIG_NAME)
    with Leash(folder):
        with pytest.raises(HostStartFailed, match=r"m\.weights"):
            client(folder, settings).acquire()
        assert wait_for_end(folder, PATIENCE)
        with pytest.raises(HostStartFailed, match=r"m\.weights"):
            ensure_host(folder)
    assert starts(folder) == 1


def test_a_host_without_configuration_says_so_at_once(folder: Path) -> None:
    with Leash(folder), pytest.raises(HostStartFailed, match=r"host\.json"):
        ensure_host(folder)


def test_a_folder_too_deep_for_a_socket_is_refused(folder: Path) -> None:
    deep = folder / ("d" * 100)
    deep.mkdir()
    with pytest.raises(HostStartFailed, match="Unix sockets allow 107"):
        Leash(deep)
    with pytest.raises(HostStartFailed, match="Unix sockets allow 107"):
        ensure_host(deep)


def test_a_host_inherits_no_descriptor_and_no_threads_of_its_starter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/somewhere")
    config().write(folder / CONFIG_NAME)
    read, write = os.pipe()
    os.set_inheritable(write, True)
    with Leash(folder), client(folder, config()) as one:
        assert serves(one)
        environments = [
            Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            for pid in (one.statistics()["pid"], supervisor(one))
        ]
        os.close(write)
        assert select.select([read], [], [], PATIENCE)[0], "the host holds the pipe open"
        assert os.read(read, 1) == b""
    os.close(read)
    assert b"OMP_NUM_THREADS=1" in environments[0]
    assert not any(entry.startswith(b"SPARK") for each in environments for entry in each)


def test_limited_address_space_is_lifted_or_named(folder: Path) -> None:
    """As `spark.executor.pyspark.memory` limits it: both limits, in the worker that starts us."""
    settings = config(device="cuda:0", backend="numpy")
    settings.write(folder / CONFIG_NAME)
    limit = 4 << 30

    def limit_both() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    with Leash(folder):
        task = subprocess.run(
            [sys.executable, "-c", ENSURE, str(folder)],
            preexec_fn=limit_both,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "limited to 4096 MiB" in task.stderr
        assert "spark.executor.pyspark.memory" in task.stderr

    def limit_soft() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    with Leash(folder):
        (folder / "host.sock.failed").unlink()
        subprocess.run(
            [sys.executable, "-c", ENSURE, str(folder)],
            preexec_fn=limit_soft,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        with client(folder, settings) as one:
            assert serves(one)
            for pid in (one.statistics()["pid"], supervisor(one)):
                limits = Path(f"/proc/{pid}/limits").read_text()
                assert re.search(r"Max address space +unlimited +unlimited", limits)


def test_on_a_cpu_a_limited_address_space_is_lived_with_and_named_in_the_log(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    limit = 4 << 30
    with Leash(folder):
        subprocess.run(
            [sys.executable, "-c", ENSURE, str(folder)],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit // 2, limit)),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        with client(folder, config()) as one:
            assert serves(one)
            limits = Path(f"/proc/{one.statistics()['pid']}/limits").read_text()
            assert re.search(rf"Max address space +{limit} +{limit}", limits)
    assert "limited to 4096 MiB" in (folder / LOG_NAME).read_text()


def test_the_leash_can_be_taken_up_again_after_a_run(folder: Path) -> None:
    config().write(folder / CONFIG_NAME)
    for _ in range(2):
        with Leash(folder), client(folder, config()) as one, ThreadPoolExecutor(1):
            assert serves(one)
        assert wait_for_end(folder, PATIENCE)
