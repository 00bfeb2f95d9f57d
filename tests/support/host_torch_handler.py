"""A tiny convolutional handler: what it computes can be checked against plain numpy."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carpool.vision.handler import Handler, Image, LoadContext, Rows
from support.host_handlers import GATED, OUTPUT_ROWS, ROW_WIDTH, SHAPE, announce, pass_gate

if TYPE_CHECKING:
    import torch

HANGS = 253
"""First byte of an item at which `Convolution` hangs, the first time."""

MEETS = 254
"""First byte of an item at which a `Meeting` waits for the other lanes."""


class Convolution(Handler):
    """One row an item: mean, maximum and minimum of a fixed convolution, then zeros.

    Parameters: `bad` is the first byte of items that raise; `announce` and `gate` as of `Digest`;
    `hang_once` names the file that remembers the first time.
    """

    input_shape = SHAPE
    output_rows = OUTPUT_ROWS
    row_width = ROW_WIDTH

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._bad = parameters.get("bad")
        self._module: Any = None

    def preprocess(self, frame: Image, out: Image) -> None:
        out[:] = frame

    def load(self, context: LoadContext) -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # compared with numpy
        module = torch.nn.Conv2d(3, 8, 3)
        with torch.no_grad():
            values = torch.arange(module.weight.numel(), dtype=torch.float32) % 7 - 3
            module.weight.copy_(values.reshape(module.weight.shape))
            module.bias.zero_()  # type: ignore[union-attr]  # it has one
        self._module = module.to(context.device).eval()

    def predict(self, batch: torch.Tensor) -> Sequence[torch.Tensor]:
        import torch

        assert torch.is_inference_mode_enabled()
        firsts = batch[:, 0, 0, 0].tolist()
        if GATED in firsts and "announce" in self._parameters:
            announce(self._parameters["announce"])
            pass_gate(self._parameters["gate"])
        if "hang_once" in self._parameters and HANGS in firsts:
            once = Path(self._parameters["hang_once"])
            if not once.exists():
                once.touch()
                threading.Event().wait()
        if self._bad is not None and (batch[:, 0, 0, 0] == self._bad).any():
            raise ValueError("a bad item")
        found = self._module(batch.permute(0, 3, 1, 2).float() / 255).flatten(1)
        rows = torch.zeros(len(batch), 1, ROW_WIDTH)
        rows[:, 0, 0], rows[:, 0, 1], rows[:, 0, 2] = found.mean(1), found.amax(1), found.amin(1)
        return list(rows)

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        return rows


def expected(item: np.ndarray) -> np.ndarray:
    """The row of an item, by numpy."""
    kernel = (np.arange(8 * 3 * 3 * 3) % 7 - 3).reshape(8, 3, 3, 3).astype(np.float32)
    image = item.transpose(2, 0, 1).astype(np.float32) / 255
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    found = np.einsum("chwij,kcij->khw", windows, kernel)
    return np.array([[found.mean(), found.max(), found.min(), 0, 0, 0]], np.float32)


class Meeting(Convolution):
    """Its `predict` may run in several threads; each waits until as many as `lanes` are in it."""

    reentrant = True

    def load(self, context: LoadContext) -> None:
        super().load(context)
        self._barrier = threading.Barrier(self._parameters["lanes"])

    def predict(self, batch: torch.Tensor) -> Sequence[torch.Tensor]:
        import torch

        assert torch.get_num_threads() == 1
        if (batch[:, 0, 0, 0] == MEETS).any():
            self._barrier.wait(30)
        return super().predict(batch)
