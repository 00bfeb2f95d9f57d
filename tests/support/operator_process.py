"""The operator as a process of its own, against a control plane of the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

from carpool.host.process import die_with
from support.control_plane.client import ApiClient
from support.control_plane.plane import ControlPlane

PATIENCE = 90.0
TESTS = str(Path(__file__).resolve().parents[1])
_LEASES = count()
JOB_IMAGE = "registry.example/carpool-job:test"


class OperatorProcess:
    """One replica."""

    def __init__(
        self, kubeconfig: Path, folder: Path, module: str, settings: dict[str, str]
    ) -> None:
        self.probe_port, self.metrics_port = _free_port(), _free_port()
        self.log = folder / f"operator-{self.probe_port}.log"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CARPOOL_")
        }
        environment |= {
            "KUBECONFIG": str(kubeconfig),
            # Some are modules of the tests.
            "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]),
            "CARPOOL_JOB_IMAGE": JOB_IMAGE,
            "CARPOOL_PROBE_PORT": str(self.probe_port),
            "CARPOOL_METRICS_PORT": str(self.metrics_port),
            "CARPOOL_LOG_FORMAT": "text",
            "CARPOOL_JOB_BACKOFF_SECONDS": "0.2",
            **settings,
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - from the main thread
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def await_listed(self) -> None:
        """Wait until it leads and has listed everything; its log is the signal."""
        deadline = time.monotonic() + PATIENCE
        while "Listed everything" not in self.text:
            assert not self.ended, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit status, when it ends."""
        return self._process.wait(seconds)

    def exited(self, seconds: float) -> bool:
        """Whether it ends by itself in this time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self, seconds: float = PATIENCE) -> int:
        """End it in order."""
        self._process.terminate()
        return self.wait(seconds)

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of a probe."""
        return _get(self.probe_port, path)

    def metric(self, name: str) -> float:
        """Sum over all series of a metric, or the one of `name{label="value"}`."""
        _, text = _get(self.metrics_port, "/metrics")
        lines = [
            line
            for line in text.splitlines()
            if name in (line.partition("{")[0].split()[0], line.rsplit(" ", 1)[0])
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def buckets(self, name: str) -> dict[str, float]:
        """Cumulative counts of a histogram without labels, by upper bound."""
        _, text = _get(self.metrics_port, "/metrics")
        start = f'{name}_bucket{{le="'
        found = [line[len(start) :] for line in text.splitlines() if line.startswith(start)]
        return {line.split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in found}


@contextmanager
def operator(
    plane: ControlPlane, folder: Path, module: str = "carpool_operator", **settings: str
) -> Iterator[OperatorProcess]:
    """Run one while the context lasts; settings by the names of their variables.

    Unless a Lease is named it has one of its own, which was given up: it leads at once.
    """
    if "lease_name" not in settings:
        settings["lease_name"] = f"operator-{next(_LEASES)}"
        _given_up(plane.admin, settings["lease_name"])
    named = {f"CARPOOL_{key.upper()}": text for key, text in settings.items()}
    process = OperatorProcess(plane.kubeconfig, folder, module, named)
    try:
        yield process
    except BaseException:
        sys.stdout.write(process.text)  # pytest shows it with the failure
        raise
    finally:
        process.kill()
    assert "Traceback" not in process.text, process.text


def _given_up(api: ApiClient, name: str) -> None:
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    api.post(leases, {"metadata": {"name": name}, "spec": spec})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
