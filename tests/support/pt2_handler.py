"""Handlers of one's own that load their files with Carpool's safe loaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2

from carpool.vision.handler import Handler, Image, LoadContext, Rows


class Mine(Handler):
    """Whatever scores more than 0.7, without suppression, in pixels of the item."""

    input_shape = (32, 32, 3)
    class_names = ("car", "bus", "truck")

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        assert not parameters

    def preprocess(self, frame: Image, out: Image) -> None:
        cv2.resize(frame, (32, 32), dst=out)

    def load(self, context: LoadContext) -> None:
        from carpool.vision.torch.exported_program import load_exported_program

        assert context.model_path is not None
        self.network = load_exported_program(context.model_path, context.device).module()

    def predict(self, batch: Any) -> Sequence[Any]:
        import torch

        boxes, scores = self.network(batch.flip(3).permute(0, 3, 1, 2) / 255.0)
        best, classes = scores.max(dim=2, keepdim=True)
        rows = torch.cat([boxes, best, classes.to(best.dtype)], dim=2)
        return [item[item[:, 4] > 0.7] for item in rows]

    def postprocess(self, rows: Rows, info: None) -> Rows:
        return rows


class Weights(Mine):
    """The same network, built here and filled from a .safetensors file."""

    def load(self, context: LoadContext) -> None:
        from carpool.vision.torch.safetensors_file import load_safetensors
        from support.pt2_archives import TinyDetector

        assert context.model_path is not None
        self.network = TinyDetector(seed=99).train(False)
        load_safetensors(context.model_path, self.network)
