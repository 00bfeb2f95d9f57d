"""Executors in processes of their own, as on a cluster: the driver knows which are there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyspark
import pytest

from carpool.spark.driver_status import DriverStatus
from carpool.spark.executors import registered_executors
from carpool.spark.reports import own_executor
from carpool.spark.session import running_spark

pytestmark = [pytest.mark.spark, pytest.mark.slow]

SETTINGS = {
    "spark.app.name": "lost",
    "spark.master": "local-cluster[1,1,512]",
    "spark.executor.memory": "512m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # As Spark on Kubernetes tells its first executor, and with it the Python workers.
    "spark.executorEnv.SPARK_EXECUTOR_ID": "0",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A driver with one executor in a process of its own."""
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    with running_spark(SETTINGS, tmp_path) as context:
        until(lambda: registered_executors(context) == {"0"}, "an executor has registered")
        yield context


def until(holds, what):
    """Spark tells nobody in Python who comes and goes, so it is asked until it holds."""
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def test_the_copy_of_an_executor_that_was_killed_is_not_counted(cluster):
    def whereabouts(_):  # in here, so that Spark sends it as code
        """The executor of a task by its id and its process."""
        daemon = Path(f"/proc/{os.getppid()}/stat").read_text()
        return own_executor(), int(daemon.rpartition(")")[2].split()[1])

    [(executor, process)] = cluster.parallelize([0], 1).map(whereabouts).collect()
    status = DriverStatus()
    status.executors(registered_executors(cluster))
    status.served(executor, {"host_id": "one", "clients": 1, "model": {"weights_bytes": 100}})
    status.executors(registered_executors(cluster))
    assert status.progress()["model"]["copies"] == 1
    os.kill(process, signal.SIGKILL)
    until(lambda: executor not in registered_executors(cluster), "Spark has lost the executor")
    status.executors(registered_executors(cluster))
    assert status.progress()["model"]["copies"] == 0
