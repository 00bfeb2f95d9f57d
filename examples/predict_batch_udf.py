"""One model for all tasks of your own Spark program: PySpark's `predict_batch_udf` and Carpool's.

The same function and the same query with both. It notes each load of the model:

    python examples/predict_batch_udf.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml import functions
from pyspark.sql import SparkSession
from pyspark.sql.functions import array, rand
from pyspark.sql.types import ArrayType, FloatType

import carpool

TASKS = 4
FEATURES = 16


def network(notes: Path) -> Callable[[], Callable[..., Any]]:
    """The function that both are given: it loads a model and returns what predicts with it."""

    def make_predict_fn() -> Callable[..., Any]:
        import torch  # noqa: PLC0415 - where the model is, and only there

        with notes.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        torch.manual_seed(0)
        layers = (torch.nn.Linear(FEATURES, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        model = torch.nn.Sequential(*layers, torch.nn.Softmax(1)).eval()

        @torch.inference_mode()
        def predict(inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            # inputs: [rows, FEATURES], rows ≤ batch_size; a row of the result per row
            found: np.ndarray[Any, Any] = model(torch.from_numpy(inputs)).numpy()
            return found

        return predict

    return make_predict_fn


def main() -> None:
    """Run the query with both and say how often the model was loaded."""
    # Spark would start `python3` as its workers, which need not be this one.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = (
        SparkSession.builder.master(f"local[{TASKS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    features = array(*[rand(seed).cast("float") for seed in range(FEATURES)])
    rows = spark.range(0, 20_000, 1, TASKS).select("id", features.alias("features"))
    with tempfile.TemporaryDirectory() as folder:
        for name, predict_batch_udf in (
            ("pyspark.ml.functions", functions.predict_batch_udf),
            ("carpool", carpool.predict_batch_udf),
        ):
            notes = Path(folder, name)
            classify = predict_batch_udf(
                network(notes),
                return_type=ArrayType(FloatType()),
                batch_size=256,
                input_tensor_shapes=[[FEATURES]],
            )
            begun = time.monotonic()
            (mean,) = rows.select(classify("features")[0].alias("p")).selectExpr("avg(p)").first()
            loads = len(notes.read_text().splitlines())
            print(  # noqa: T201 - the example's result
                f"{name:>20}: model loaded {loads} times for {TASKS} tasks, "
                f"mean prediction {mean:.4f}, {time.monotonic() - begun:.1f} s"
            )
    spark.stop()


if __name__ == "__main__":
    main()
