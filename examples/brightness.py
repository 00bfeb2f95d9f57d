"""A model of your own, the smallest there is: one row per frame that says bright or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from carpool.vision.handler import Handler, Image, LoadContext, Rows


class Brightness(Handler):
    """Classifies whole frames; `threshold` is the mean grey level between dark and bright."""

    framework = "numpy"  # "torch", the default: predict takes and gives torch tensors
    input_shape = (90, 160, 3)  # of one item in shared memory, uint8
    class_names = ("bright", "dark")

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Runs in every Spark task and in the model host: no torch here, no files."""
        self.threshold = float(parameters.get("threshold", 99))

    def preprocess(self, frame: Image, out: Image) -> Any:
        """In the Spark task: write the item; what is returned comes back in `postprocess`."""
        cv2.resize(frame, (out.shape[1], out.shape[0]), dst=out)
        return frame.shape

    def load(self, context: LoadContext) -> None:
        """In the host, once: load what `context.model_path` names; there is nothing here."""

    def predict(self, batch: Any) -> Sequence[Any]:
        """In the host: per item its rows x1, y1, x2, y2, score, class."""
        height, width, _ = self.input_shape
        return [
            np.array([[0, 0, width, height, 1.0, item.mean() < self.threshold]], np.float32)
            for item in batch
        ]

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        """In the Spark task: back to pixels of the source frame."""
        height, width, _ = info
        scale = np.array([width, height, width, height], np.float32)
        rows[:, :4] *= scale / np.array([160, 90, 160, 90], np.float32)
        return rows
