"""A model that does nothing, so that what is measured is the way there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from carpool.vision.handler import Handler, Image, LoadContext, Rows

REFERENCE = "benchmarks.host.idle_handler:Idle"
ROWS = np.zeros((3, 6), np.float32)
"""What comes back for an item, whatever the way: three boxes."""


class Idle(Handler):
    """Parameters: `shape` of an item."""

    framework: ClassVar[Literal["torch", "numpy"]] = "numpy"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        height, width, channels = parameters["shape"]
        self.input_shape = (height, width, channels)

    def preprocess(self, frame: Image, out: Image) -> None:
        """Copy; the benchmarks write their slots themselves."""
        out[:] = frame

    def load(self, context: LoadContext) -> None:
        """Nothing to load."""

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        """The same three boxes for each item."""
        return [ROWS] * len(batch)

    def postprocess(self, rows: Rows, info: Any) -> Rows:  # noqa: ARG002 - the contract's signature
        """The rows as they are."""
        return rows
