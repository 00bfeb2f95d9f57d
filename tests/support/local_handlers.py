"""Handlers for whole jobs on local Spark."""

from __future__ import annotations

import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from carpool.errors import ModelFormatError
from carpool.vision.handler import Handler, Image, LoadContext, Rows
from carpool.vision.oracle import ColourOracle


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


class SlowOracle(ColourOracle):
    """The oracle on a device that takes its time, so that there is work left to disturb."""

    def predict(self, batch: Any) -> Sequence[Any]:
        found = super().predict(batch)
        threading.Event().wait(0.02 * len(batch))
        return found


class FailsOnOneFrame(ColourOracle):
    """The oracle of a network that does not bear one frame: `badFrame` is its CRC-32."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__({key: value for key, value in parameters.items() if key != "badFrame"})
        self._bad = parameters["badFrame"]

    def predict(self, batch: Any) -> Sequence[Any]:
        if any(zlib.crc32(item.tobytes()) == self._bad for item in batch):
            raise FloatingPointError("the activations overflow")
        return super().predict(batch)


class NeverWorks(_OneBox):
    """A model with a bug that only real frames bring out: warm-up is on grey ones."""

    framework = "numpy"

    def predict(self, batch: Any) -> Sequence[Any]:
        if any(item.std() > 0 for item in batch):
            raise RuntimeError("matrices do not fit")
        return super().predict(batch)


class CannotBuild(_OneBox):
    """A handler whose constructor has a bug."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        self.threshold = float("high")


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
