"""Saves a detection network as the .pt2 file that `format: TorchExport` runs.

    cd models
    python ../examples/export_detector.py yolo.cfg yolo.weights yolo.names yolo.pt2

The network here is a Darknet one; `save_detector` takes any module whose forward keeps the
contract: images float [n, 3, h, w], RGB from 0 to 1, to boxes [n, b, 4] (x1, y1, x2, y2 in pixels
of the input) and scores [n, b, classes], or to one tensor [n, 4 + classes, b] as YOLOv8 and its
successors give.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from carpool.vision.darknet.cfg import read_network
from carpool.vision.darknet.resolve import read_names_file
from carpool.vision.darknet.weights import read_weights
from carpool.vision.torch.darknet_network import DarknetNetwork

MAX_BATCH = 1024


class DarknetDetector(nn.Module):
    """A Darknet network behind the contract."""

    def __init__(self, cfg: Path, weights: Path) -> None:
        """Read the network's files."""
        super().__init__()
        network = read_network(cfg, None)
        self.size = (network.input.height, network.input.width)
        self._classes = network.classes
        values = read_weights(weights, network)
        self._network = DarknetNetwork(network, values, torch.device("cpu"), torch.float32)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes and scores; this network takes frames as they lie in memory, BGR from 0 to 255."""
        found = self._network(images.permute(0, 2, 3, 1).flip(3) * 255.0)
        best = functional.one_hot(found.classes, self._classes) * found.scores.unsqueeze(2)
        return found.boxes, best


def save_detector(
    network: nn.Module, size: tuple[int, int], class_names: Sequence[str], path: Path
) -> None:
    """Export a network for any batch and save it with its class names.

    Args:
        network: keeps the contract; in evaluation mode.
        size: (height, width) of its input.
        class_names: in the order of their ids.
        path: of the .pt2.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    images = torch.zeros(2, 3, *size)
    with torch.no_grad():
        program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path, extra_files={"names": "\n".join(class_names)})


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cfg", "weights", "names", "pt2"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    detector = DarknetDetector(given.cfg, given.weights)
    save_detector(detector, detector.size, read_names_file(given.names), given.pt2)


if __name__ == "__main__":
    main()
