"""A detection network as the model host runs it: frames in, rows of boxes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from carpool.vision.handler import FixedRows
from carpool.vision.torch.nms import suppress, suppress_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import nn

ROW_WIDTH = 6


class Detector:
    """Network, choice of classes and suppression of duplicates.

    Args:
        network: a module that gives `Candidates` for a batch of frames.
        device: where the network is.
        classes: number of classes of the network.
        class_ids: the classes to keep; None keeps all.
        score_threshold: boxes must score more than this.
        iou_threshold: of two boxes of a class that overlap more than this, one is dropped.
        max_rows: the most boxes of one frame.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        classes: int,
        class_ids: Collection[int] | None,
        score_threshold: float,
        iou_threshold: float,
        max_rows: int,
    ) -> None:
        self._network = network
        self._score_threshold = score_threshold
        self._iou_threshold = iou_threshold
        self._max_rows = max_rows
        self._wanted: torch.Tensor | None = None
        if class_ids is not None:
            self._wanted = torch.zeros(classes, dtype=torch.bool, device=device)
            self._wanted[sorted(class_ids)] = True

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Detect.

        Args:
            batch: uint8 [n, h, w, 3], BGR, on the device.

        Returns:
            Per frame float32 [k, 6] in main memory, best first: x1, y1, x2, y2 in pixels of the
            network's input, score, class. All of a batch cross from the device in one copy.
        """
        rows, counts = self._suppressed(suppress, batch)
        # A count fits float32 exactly: it is at most the number of rows.
        packed = torch.cat([counts.unsqueeze(1).to(rows.dtype), rows.flatten(1)], dim=1).cpu()
        return [item[1 : 1 + ROW_WIDTH * int(item[0])].view(-1, ROW_WIDTH) for item in packed]

    @torch.inference_mode()
    def ahead(self, batch: torch.Tensor) -> FixedRows:
        """The same, nothing waited for; see `Handler.predict_fixed`."""
        rows, counts = self._suppressed(suppress_ahead, batch)
        return FixedRows(rows, counts)

    def _suppressed(
        self, function: Callable[..., tuple[torch.Tensor, torch.Tensor]], batch: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, scores, classes = self._network(batch)
        if self._wanted is not None:
            # Below every threshold, 0 included.
            scores = scores.masked_fill(~self._wanted[classes], -1.0)
        return function(
            boxes,
            scores,
            classes,
            score_threshold=self._score_threshold,
            iou_threshold=self._iou_threshold,
            max_rows=self._max_rows,
        )
