"""Models that exist for measuring: a heavy one, a simulated one, and one that is fed float32.

What must stay true: a model's rows for an item depend on the item alone, so that the rows of all
arms can be compared; and a model is the same in every process that loads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from carpool.vision.darknet.handler import DarknetDetector
from carpool.vision.handler import FixedRows, Handler, Image, LoadContext, Rows

HEAVY = "benchmarks.sharing.handlers:HeavyModel"
SIMULATED = "benchmarks.sharing.handlers:SimulatedModel"
FLOAT_DARKNET = "benchmarks.sharing.handlers:FloatDarknet"
FLOAT_BYTES = 4

_ROWS = 3
_STEP = 0.1
"""Share of a layer in the sum with its input: rounding errors then stay what they are."""


class _Plain(Handler):
    """Items are ready when they are there, and rows need no mapping back."""

    def preprocess(self, frame: Image, out: Image) -> None:
        """Copy; the benchmarks write their slots themselves."""
        out[:] = frame

    def postprocess(self, rows: Rows, info: Any) -> Rows:  # noqa: ARG002 - the contract's signature
        """The rows as they are."""
        return rows


class HeavyModel(_Plain):
    """Much memory, little computation: square layers, each of which is read for every batch.

    A batch takes as long as the device needs to read the weights, whatever its size, up to some
    hundred items: what language models do, and where one copy for all pays most.

    Args:
        parameters: `shape` of an item (height, width, channels), `width` of a layer, `layers`.
            The weights are random and made where the model is, so loading costs no reading.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        height, width, channels = parameters["shape"]
        self.input_shape = (height, width, channels)
        self._width, self._number = int(parameters["width"]), int(parameters["layers"])

    def load(self, context: LoadContext) -> None:
        """Make the weights on the device."""
        import torch  # noqa: PLC0415 - only the process that computes has torch

        from carpool.vision.torch.precision import dtype_for  # noqa: PLC0415 - imports torch

        device = torch.device(context.device)
        self._counts = torch.int32
        self._dtype = dtype_for(context.precision, device)
        generator = torch.Generator(device).manual_seed(0)
        shape = (self._width, self._width)
        self._layers = [
            torch.randn(shape, generator=generator, device=device, dtype=self._dtype).mul_(
                self._width**-0.5
            )
            for _ in range(self._number)
        ]

    def predict(self, batch: Any) -> Sequence[Any]:
        """Per item three rows, the first values of the last layer; see `Handler.predict`."""
        return list(self._forward(batch).cpu())

    def predict_fixed(self, batch: Any) -> FixedRows:
        """The same, nothing waited for; see `Handler.predict_fixed`."""
        rows = self._forward(batch)
        return FixedRows(rows, rows.new_full((len(rows),), _ROWS, dtype=self._counts))

    def _forward(self, batch: Any) -> Any:
        from torch.nn import functional  # noqa: PLC0415 - imports torch

        flat = batch.flatten(1)
        # As many values as a layer takes, from all over the item.
        values = flat[:, :: flat.shape[1] // self._width][:, : self._width].to(self._dtype)
        state = functional.layer_norm(values, (self._width,))
        for layer in self._layers:
            state = functional.layer_norm(state + _STEP * (state @ layer), (self._width,))
        return state[:, : _ROWS * self.row_width].reshape(-1, _ROWS, self.row_width).float()


class SimulatedModel(_Plain):
    """Rows that only this item gives, for next to no time: the simulated device takes the time.

    Args:
        parameters: `shape` of an item, `load_seconds` that loading takes.
    """

    framework: ClassVar[Literal["torch", "numpy"]] = "numpy"
    reentrant = True

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        height, width, channels = parameters["shape"]
        self.input_shape = (height, width, channels)
        self._load_seconds = float(parameters["load_seconds"])

    def load(self, context: LoadContext) -> None:  # noqa: ARG002 - the contract's signature
        """Take the time of loading."""
        time.sleep(self._load_seconds)

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        """Per item three rows: values from all over it."""
        flat = batch.reshape(len(batch), -1)
        size = _ROWS * self.row_width
        values = flat[:, :: flat.shape[1] // size][:, :size]
        return list(values.reshape(-1, _ROWS, self.row_width).astype(np.float32))


class FloatDarknet(DarknetDetector):
    """A Darknet detector whose items are float32 pixels: what is left without uint8 on the way.

    A slot holds uint8, so an item is [h, w, 12]: the four bytes of each value.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        height, width, channels = self.input_shape
        self.input_shape = (height, width, FLOAT_BYTES * channels)

    def predict(self, batch: Any) -> Sequence[Any]:
        """Detect; see `Handler.predict`."""
        return super().predict(_pixels(batch))

    def predict_fixed(self, batch: Any) -> FixedRows | None:
        """The same, nothing waited for; see `Handler.predict_fixed`."""
        return super().predict_fixed(_pixels(batch))


def _pixels(batch: Any) -> Any:
    """uint8 [n, h, w, 3] from the bytes of float32 values."""
    import torch  # noqa: PLC0415 - only the host has torch

    return batch.contiguous().view(torch.float32).to(torch.uint8)
