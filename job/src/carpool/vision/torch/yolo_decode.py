"""From the raw output of a YOLO head to boxes with score and class.

One class per box, the most probable: a box that could be two things is one detection. All is
computed in float32, whatever the network's precision, and on the device; shapes depend on the
network alone, so that nothing here waits for the device.

Source of the formulae: Redmon and Farhadi, YOLOv3 (arXiv 1804.02767), section 2.1; the scaling of
the centre is that of YOLOv4 (arXiv 2004.10934), section 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from carpool.vision.torch.activations import sigmoid

if TYPE_CHECKING:
    from carpool.vision.darknet.layers import Shape, Yolo

MAX_SIZE_LOGIT = 16.0
"""exp of it times any anchor is beyond every image; without a limit a box could be infinite."""


class Candidates(NamedTuple):
    """All boxes that a network proposes, before any is dropped.

    Attributes:
        boxes: float32 [n, b, 4]: x1, y1, x2, y2 in pixels of the network's input.
        scores: float32 [n, b]: objectness x probability of the class.
        classes: int64 [n, b]: id of the most probable class.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


class YoloDecode(nn.Module):
    """Decodes one head.

    Args:
        head: the [yolo] layer.
        network_input: shape of the network's input; boxes are in its pixels.
        device: where the head's output will be.
    """

    def __init__(self, head: Yolo, network_input: Shape, device: torch.device) -> None:
        super().__init__()
        self._head = head
        _, height, width = head.input
        rows, columns = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device),
            torch.arange(width, dtype=torch.float32, device=device),
            indexing="ij",
        )
        # [cells, 1, 2], to be added to [n, cells, anchors, 2].
        self._cells = torch.stack([columns, rows], dim=2).reshape(-1, 1, 2)
        self._cell_size = torch.tensor(
            [network_input.width / width, network_input.height / height],
            dtype=torch.float32,
            device=device,
        )
        self._anchors = torch.tensor(head.anchors, dtype=torch.float32, device=device)

    def forward(self, raw: torch.Tensor) -> Candidates:
        """Decode.

        Args:
            raw: [n, anchors · (5 + classes), h, w], any floating type; in channels-last layout
                nothing is copied.
        """
        batch, _, height, width = raw.shape
        anchors = len(self._head.anchors)
        boxes = height * width * anchors
        values = raw.permute(0, 2, 3, 1).reshape(batch, height * width, anchors, -1).float()
        centre = sigmoid(values[..., 0:2])
        if self._head.scale_x_y != 1.0:
            centre = centre * self._head.scale_x_y - (self._head.scale_x_y - 1.0) / 2.0
        centre = (centre + self._cells) * self._cell_size
        half = values[..., 2:4].clamp(max=MAX_SIZE_LOGIT).exp() * self._anchors / 2.0
        # The most probable class has the largest logit: one sigmoid a box instead of one a class.
        logit, classes = values[..., 5:].max(dim=3)
        return Candidates(
            boxes=torch.cat([centre - half, centre + half], dim=3).reshape(batch, boxes, 4),
            scores=(sigmoid(values[..., 4]) * sigmoid(logit)).reshape(batch, boxes),
            classes=classes.reshape(batch, boxes),
        )
