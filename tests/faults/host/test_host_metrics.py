"""What Prometheus is told, by a real host over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from carpool.host.config import SimulatedDevice
from support.host_handlers import BAD, make_items
from support.host_process import PATIENCE, RunningHost, config, process_ends

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def samples(text: str) -> Samples:
    return {
        (sample.name.removeprefix("carpool_host_"), tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return samples(answer.read().decode())


@pytest.fixture
def port() -> int:
    return free_port()


def test_prometheus_sees_what_the_host_did(port: int) -> None:
    settings = config(
        backend="simulated",
        simulated=SimulatedDevice(base_ms=2, weights_bytes=1 << 20, item_bytes=1 << 10),
        memory_bytes=2 << 20,
        max_batch=4,
    )
    with RunningHost(settings, "--metrics-port", str(port)) as host, host.client() as client:
        slot = client.acquire()
        slot.items[:6] = make_items(6, 0)
        slot.items[5, 0, 0, 0] = BAD
        client.submit(slot, 6)
        list(client.drain())
        seen = scrape(port)
    plain = {name: value for (name, labels), value in seen.items() if not labels}
    assert plain["up"] == 1
    assert (plain["requests_total"], plain["items_total"], plain["failed_items_total"]) == (1, 6, 1)
    assert plain["loads_total"] == 1
    assert plain["restarts_total"] == 0
    assert plain["splits_total"] == 1
    assert plain["batch_items_count"] == plain["batches_total"] == 2
    assert plain["batch_items_sum"] == 5
    assert plain["execute_seconds_total"] >= 2 * 0.002
    assert plain["clients"] == 1
    assert seen["batch_items_bucket", (("le", "4.0"),)] == 2
    assert seen["phase_seconds_total", (("phase", "collect"),)] > 0
    assert seen["memory_bytes", (("use", "weights"),)] == 1 << 20
    assert seen["memory_bytes", (("use", "item"),)] == 1 << 10
    assert seen["memory_bytes", (("use", "budget"),)] == 2 << 20
    assert seen["memory_bytes", (("use", "arenas"),)] > 0


def test_metrics_tell_that_the_host_does_not_answer_and_that_it_was_restarted(port: int) -> None:
    with RunningHost(config(), "--metrics-port", str(port)) as host:
        child = host.child()
        os.kill(child, signal.SIGSTOP)
        assert scrape(port) == {("up", ()): 0}
        os.kill(child, signal.SIGKILL)
        assert process_ends(child)
        host.child()
        seen = scrape(port)
        assert seen["up", ()] == 1
        assert seen["restarts_total", ()] == 1


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_host(port: int) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))  # noqa: S104 - as the host does
        other.listen()
        with RunningHost(config(), "--metrics-port", str(port)) as host:
            host.child()
            assert f"no metrics on port {port}" in host.log.read_text()


def test_the_metrics_of_a_host_can_be_printed() -> None:
    command = [sys.executable, "-m", "carpool.host.metrics", "--socket"]
    with RunningHost(config()) as host:
        host.child()
        said = subprocess.run([*command, host.socket], capture_output=True, text=True, check=True)
        assert samples(said.stdout)["up", ()] == 1
    gone = subprocess.run([*command, host.socket], capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert samples(gone.stdout) == {("up", ()): 0}
