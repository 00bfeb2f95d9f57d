"""Exported programs for tests: a small detector, and archives changed in one place."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONFIGS = {
    "weights": "data/weights/model_weights_config.json",
    "constants": "data/constants/model_constants_config.json",
}
PROGRAM = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
SIDE = 32
CLASS_NAMES = ("car", "bus", "truck")

Edit = bytes | Callable[[bytes], bytes] | None


class TinyDetector(nn.Module):
    """64 boxes and three classes from one convolution: enough to have every kind of tensor.

    Args:
        combined: give one tensor as YOLOv8 does, instead of boxes and scores.
    """

    anchors: torch.Tensor
    moved: torch.Tensor

    def __init__(self, *, combined: bool = False, seed: int = 3) -> None:
        super().__init__()
        self._combined = combined
        generator = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv2d(3, 4 + len(CLASS_NAMES), kernel_size=4, stride=4)
        self.norm = nn.BatchNorm2d(4 + len(CLASS_NAMES))
        with torch.no_grad():
            for values in self.conv.parameters():
                values.copy_(torch.randn(values.shape, generator=generator))
        steps = torch.arange(8) * 4.0 + 2.0
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        # A buffer that is saved with the weights, and a constant that is not.
        self.register_buffer("anchors", torch.stack([columns, rows]).reshape(2, 64))
        self.register_buffer("moved", torch.full((2, 1), 0.25), persistent=False)

    def forward(self, images: torch.Tensor) -> Any:
        values = self.norm(self.conv(images)).flatten(2)
        centre = self.anchors + self.moved + values[:, 0:2].tanh() * 3.0
        size = 4.0 + 10.0 * values[:, 2:4].sigmoid()
        scores = values[:, 4:].sigmoid()
        if self._combined:
            return torch.cat([centre, size, scores], dim=1)
        corners = torch.cat([centre - size / 2.0, centre + size / 2.0], dim=1)
        return corners.transpose(1, 2), scores.transpose(1, 2)


def tiny_detector(*, combined: bool = False) -> TinyDetector:
    """The same network whenever it is called, for inference."""
    network = TinyDetector(combined=combined)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.train(False)
    return network


def save(
    network: nn.Module,
    path: Path,
    *,
    images: torch.Tensor | None = None,
    dynamic: Any = None,
    extra_files: dict[str, str] | None = None,
) -> Path:
    """Export a network for images [n, 3, 32, 32] and save it as a user would.

    Args:
        network: takes images.
        path: of the .pt2.
        images: example input; two images where None.
        dynamic: torch's `dynamic_shapes`; None for a fixed shape.
        extra_files: as in `torch.export.save`.
    """
    example = torch.zeros(2, 3, SIDE, SIDE) if images is None else images
    program = torch.export.export(network, (example,), dynamic_shapes=dynamic)
    torch.export.save(program, path, extra_files=extra_files)
    return path


def any_batch(low: int = 1, high: int = 64) -> Any:
    """`dynamic_shapes` of a program that takes from `low` to `high` images."""
    return ({0: torch.export.Dim("n", min=low, max=high)},)


def entries(path: Path) -> dict[str, bytes]:
    """Entries of an archive by their names below its root folder."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()}


def changed(source: Path, target: Path, edits: Mapping[str, Edit]) -> Path:
    """A copy of an archive with some entries replaced, added, or (None) removed."""
    found: dict[str, bytes] = entries(source)
    for name, edit in edits.items():
        if edit is None:
            del found[name]
        else:
            found[name] = edit(found[name]) if callable(edit) else edit
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in found.items():
            archive.writestr(f"model/{name}", content)
    return target


def in_json(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """An edit of a JSON entry; `change` works in place."""

    def edit(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return edit


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self._canary,))


def pickled_by_torch(value: Any) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
