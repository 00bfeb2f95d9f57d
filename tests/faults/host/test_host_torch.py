"""A torch handler through a real host: on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, Leash, ensure_host, wait_for_end
from carpool.host.termination import Termination, failure_file
from support.host_fixed_handler import sums
from support.host_handlers import GATED, OUTPUT_ROWS, ROW_WIDTH, SHAPE, make_items
from support.host_process import (
    PATIENCE,
    TESTS,
    Gate,
    RunningHost,
    arenas_mapped,
    config,
    gate,
    process_ends,
)
from support.host_torch_handler import HANGS, MEETS, expected

pytestmark = [pytest.mark.torch, pytest.mark.slow]

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)])


def torch_config(**fields: Any) -> HostConfig:
    return replace(config(**fields), handler="support.host_torch_handler:Convolution")


def gated(device: str, barrier: Gate) -> HostConfig:
    return torch_config(device=device, parameters=barrier.parameters)


def submit(client: HostClient, items: np.ndarray) -> None:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items), items)


def assert_right(done: Completed) -> None:
    for rows, item in zip(done.rows, done.tag, strict=True):
        assert not isinstance(rows, ItemFailure), rows
        np.testing.assert_allclose(rows, expected(item), rtol=1e-4, atol=1e-5)


def first_byte(count: int, seed: int, byte: int) -> np.ndarray:
    items = make_items(count, seed)
    items[0, 0, 0, 0] = byte
    return items


def infer(client: HostClient, items: np.ndarray) -> list[Any]:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items))
    (done,) = client.drain()
    return done.rows


@DEVICES
def test_torch_rows_are_those_of_numpy_and_a_bad_item_fails_alone(device: str) -> None:
    settings = torch_config(device=device, parameters={"bad": 99})
    with RunningHost(settings) as host, host.client() as client:
        items = make_items(11, 0)
        for rows, item in zip(infer(client, items), items, strict=True):
            assert not isinstance(rows, ItemFailure)
            np.testing.assert_allclose(rows, expected(item), rtol=1e-4, atol=1e-5)
        items[4, 0, 0, 0] = 99
        failed = [isinstance(rows, ItemFailure) for rows in infer(client, items)]
        assert failed == [index == 4 for index in range(11)]
        figures = client.statistics()
        if device == "cpu":
            assert figures["max_batch"] == 8
            assert figures["model"]["device"] == "cpu, 1 threads"
        else:
            assert figures["model"]["device"] == torch.cuda.get_device_name(device)
        assert figures["model"]["weights_bytes"] == 4 * (8 * 3 * 3 * 3 + 8)


@DEVICES
def test_deterministic_rows_do_not_depend_on_companions(device: str) -> None:
    settings = torch_config(device=device, deterministic=True, max_batch=6)
    with RunningHost(settings) as host, host.client() as client:
        items = make_items(13, 1)
        together = infer(client, items)
        singly = [infer(client, items[index : index + 1])[0] for index in range(13)]
        assert all(map(np.array_equal, together, singly))


@DEVICES
def test_killed_in_the_middle_of_a_batch_it_costs_nobody_a_request(device: str) -> None:
    with gate() as barrier, RunningHost(gated(device, barrier)) as host:
        clients = [host.client() for _ in range(2)]
        child = host.child()
        submit(clients[0], first_byte(4, 0, GATED))
        barrier.wait()
        submit(clients[1], make_items(6, 1))
        os.kill(child, signal.SIGKILL)
        assert process_ends(child)
        barrier.open()
        for client in clients:
            (done,) = client.drain()
            assert_right(done)
        assert host.statistics()["generation"] == 2


@DEVICES
def test_a_batch_that_hangs_is_noticed_and_runs_again(device: str, tmp_path: Path) -> None:
    settings = torch_config(
        device=device, parameters={"hang_once": str(tmp_path / "once")}, watchdog_seconds=1.0
    )
    with RunningHost(settings) as host, host.client() as client, host.client() as other:
        submit(client, first_byte(3, 0, HANGS))
        submit(other, make_items(5, 1))
        for one in (client, other):
            (done,) = one.drain()
            assert_right(done)
        assert client.generation == 2


@DEVICES
def test_a_client_killed_while_torch_reads_its_memory_disturbs_nobody(device: str) -> None:
    """The tensor is the client's own memory, or is copied from it: it stays until that is done."""
    with gate() as barrier, RunningHost(gated(device, barrier)) as host:
        survivor, program = host.client(), "support.host_victims"
        submit(survivor, make_items(2, 0))
        assert_right(next(survivor.drain()))
        child = host.child()
        assert host.settles(lambda: arenas_mapped(child) == 1)
        with subprocess.Popen(
            [sys.executable, "-m", program, host.folder, "step", "6", "gated"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])},
            stdin=subprocess.PIPE,
        ) as victim:
            barrier.wait()
            victim.kill()
        assert host.statistics()["running"] == 8 or device != "cpu"
        assert arenas_mapped(child) == 2
        barrier.open()
        submit(survivor, make_items(5, 1))
        assert_right(next(survivor.drain()))
        assert host.settles(lambda: arenas_mapped(child) == 1)
        assert host.child() == child


@pytest.mark.cuda
def test_a_handler_that_spoils_recording_is_served_without_it() -> None:
    """In a new process, where the device ended the recording; in the same, where torch saw it."""
    settings = replace(
        torch_config(device="cuda:0"), handler="support.host_fixed_handler:Synchronizes"
    )
    with RunningHost(settings) as host, host.client() as client:
        items = make_items(11, 0)
        for rows, item in zip(infer(client, items), items, strict=True):
            np.testing.assert_array_equal(rows, sums(item))
        log = host.log.read_text()
    assert "from now on without cuda_graphs" in log or "batches run unrecorded" in log


def test_a_worker_with_one_thread_starts_a_host_with_as_many_as_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spark sets OMP_NUM_THREADS to `spark.task.cpus` in its workers (SPARK-28843)."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    settings = replace(torch_config(), threads=2)
    with tempfile.TemporaryDirectory(prefix="cpl") as made:
        folder = Path(made)
        settings.write(folder / CONFIG_NAME)
        with Leash(folder):
            client = HostClient(
                ensure_host(folder),
                model_key=settings.model_key,
                item_shape=SHAPE,
                output_rows=OUTPUT_ROWS,
                row_width=ROW_WIDTH,
            )
            with client:
                figures = client.statistics()
                assert figures["model"]["device"] == "cpu, 2 threads"
                environment = Path(f"/proc/{figures['pid']}/environ").read_bytes().split(b"\0")
        assert wait_for_end(folder, PATIENCE)
    assert b"OMP_NUM_THREADS=2" in environment
    assert b"MKL_NUM_THREADS=2" in environment


def lanes_config(**fields: Any) -> HostConfig:
    return replace(
        config(parameters={"lanes": 2}, max_batch=1, **fields),
        handler="support.host_torch_handler:Meeting",
        threads=2,
    )


def test_a_cpu_computes_a_batch_a_core_where_the_handler_allows_it() -> None:
    with RunningHost(lanes_config()) as host, host.client() as client:
        for seed in range(4):  # each batch waits for another one beside it
            submit(client, first_byte(1, seed, MEETS))
        for done in client.drain():
            assert_right(done)
        figures = host.statistics()
    assert figures["model"]["device"] == "cpu, 2 lanes of 1 threads"
    assert figures["batches"] == 4
    assert figures["credits"] >= 3 * 2


def test_what_lanes_compute_does_not_depend_on_how_many_there_are() -> None:
    items = make_items(12, 0)
    rows = []
    for threads in (1, 2):
        settings = replace(lanes_config(deterministic=True), threads=threads)
        with RunningHost(settings) as host, host.client() as client:
            rows.append(np.concatenate(infer(client, items)))
    assert np.array_equal(*rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_ends_the_supervisor_and_is_named() -> None:
    with RunningHost(torch_config(device="cuda:0")) as host:
        assert host.process.wait(PATIENCE) == 1
        message = Termination.decode(failure_file(host.socket).read_bytes())
        assert (message.reason, message.permanent) == ("DeviceLost", False)
        assert "device cuda:0 cannot be used" in message.message
