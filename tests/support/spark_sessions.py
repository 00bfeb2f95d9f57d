"""A user's own Spark session; a conftest.py imports the fixture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """Two tasks at a time, which can import what tests can."""
    with pytest.MonkeyPatch.context() as environment:
        path = (str(TESTS), os.environ.get("PYTHONPATH"))
        environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
        session = _session(tmp_path_factory.mktemp("spark"))
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def _session(folder):
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.local.dir", str(folder))
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .getOrCreate()
    )
