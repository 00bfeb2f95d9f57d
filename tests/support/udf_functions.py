"""Predict functions for tests of `predict_batch_udf`, and what they leave behind for the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def noting_loads(notes: Path, predict: Callable[..., Any]) -> Callable[[], Callable[..., Any]]:
    """A `make_predict_fn` that adds its process id to a file each time it runs."""

    def make() -> Callable[..., Any]:
        with notes.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        return predict

    return make


def loads(notes: Path) -> list[int]:
    """Process ids of the loads, one a load."""
    return [int(line) for line in notes.read_text().split()]


def giving(result: Any) -> Callable[[], Callable[..., Any]]:
    """A `make_predict_fn` whose function returns the same whatever it is given."""

    def make() -> Callable[..., Any]:
        def predict(values: NDArray[Any]) -> Any:
            return result

        return predict

    return make


def doubling() -> Callable[..., NDArray[Any]]:
    """A `make_predict_fn` without any state."""

    def predict(values: NDArray[Any]) -> NDArray[Any]:
        return values * 2

    return predict


def in_rows(names: Sequence[str]) -> Callable[[], Callable[..., Any]]:
    """A `make_predict_fn` whose function gives each row as a dictionary of its columns."""

    def make() -> Callable[..., Any]:
        def predict(values: NDArray[Any]) -> list[dict[str, Any]]:
            return [dict(zip(names, row, strict=True)) for row in np.atleast_2d(values)]

        return predict

    return make
