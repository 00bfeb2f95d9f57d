"""Hosts of predict functions die, and executors do: no row is lost and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from pyspark.sql.types import LongType

from carpool import predict_batch_udf
from support.host_process import PATIENCE, process_ends
from support.udf_functions import loads

pytestmark = pytest.mark.spark


def test_a_killed_host_is_started_again_and_every_row_comes_once(spark, tmp_path):
    notes = tmp_path / "loads"

    def make():
        with notes.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        calls = []
        life = len(notes.read_text().split())

        def predict(x):
            calls.append(1)
            if life == 1 and len(calls) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return x + 1

        return predict

    fragile = predict_batch_udf(make, return_type=LongType(), batch_size=32)
    rows = spark.range(0, 1000, 1, 4).select("id", fragile("id").alias("p")).collect()
    assert sorted((row.id, row.p) for row in rows) == [(n, n + 1) for n in range(1000)]
    assert len(loads(notes)) == 2


PROGRAM = """
import os, sys
from pyspark.sql import SparkSession
from carpool import predict_batch_udf
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
         .config("spark.ui.showConsoleProgress", "false")
         .config("spark.local.dir", sys.argv[1]).getOrCreate())
def make():
    import os
    return lambda x: x * 0 + os.getpid()
udf = predict_batch_udf(make, return_type="bigint", batch_size=4)
print(spark.range(1).select(udf("id")).first()[0], flush=True)
os.kill(spark.sparkContext._gateway.proc.pid, 9)  # no farewell to anyone
os.kill(os.getpid(), 9)
"""


def test_a_host_ends_with_its_executor_also_if_that_is_killed(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert process_ends(int(told.stdout.split()[-1]), PATIENCE)
