"""Handlers for whole jobs on local Spark."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from carpool.errors import ModelFormatError
from carpool.vision.handler import Handler, Image, LoadContext, Rows


class _OneBox(Handler):
    """One box per frame; what it says is in its class."""

    input_shape = (8, 8, 3)
    class_names: Sequence[str] = ("box",)

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def preprocess(self, frame: Image, out: Image) -> Any:
        out[...] = frame[: out.shape[0], : out.shape[1]]

    def load(self, context: LoadContext) -> None:
        """Nothing to load."""

    def predict(self, batch: Any) -> Sequence[Any]:
        return [np.array([[1, 1, 5, 5, 0.9, 0]], np.float32) for _ in batch]

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        return rows


class CannotLoad(_OneBox):
    """A model whose load fails for good."""

    framework = "numpy"

    def load(self, context: LoadContext) -> None:
        raise ModelFormatError("the weights are from another network")


class TorchReporter(_OneBox):
    """Says in its rows where torch was imported."""

    framework = "torch"
    class_names = ("no torch in host", "torch in host, none in worker", "torch in worker")

    def predict(self, batch: Any) -> Sequence[Any]:
        import torch

        in_host = float(isinstance(batch, torch.Tensor))
        return [torch.tensor([[1, 1, 5, 5, 0.9, in_host]]) for _ in batch]

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        seen = rows.copy()
        if "torch" in sys.modules:
            seen[:, 5] = 2
        return seen
