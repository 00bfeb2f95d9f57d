"""An exported detector as a network of ours: frames in, candidates out, for any batch size.

A program that was exported for a fixed batch, or for a range, gets its batches split and padded; a
detector's rows do not depend on the other images of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from carpool.errors import ModelError, ModelFormatError
from carpool.vision.torch.precision import dtype_for
from carpool.vision.torch.yolo_decode import Candidates

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from carpool.vision.torch_export.contract import DetectorContract


class ExportedNetwork(nn.Module):
    """The network on a device.

    Args:
        program: loaded onto the device.
        contract: what it takes and gives.
        precision: as in the job. Auto is the program's own; Float16 and BFloat16 run a Float32
            program under torch.autocast.
        device: where the program is.

    Raises:
        ModelError: the program cannot compute in that precision.
    """

    def __init__(
        self,
        program: ExportedProgram,
        contract: DetectorContract,
        *,
        precision: str,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._own: torch.dtype = getattr(torch, contract.dtype)
        self._autocast = _autocast_dtype(self._own, precision, device)
        self._device = device
        self._contract = contract
        self._program = program.module(check_guards=False)
        if self._autocast is not None:
            _drop_dtype_assertions(self._program)

    def forward(self, batch: torch.Tensor) -> Candidates:
        """Propose boxes.

        Args:
            batch: uint8 [n, h, w, 3], BGR, on the network's device.
        """
        # Contiguous: a program may look at its input with strides that were fixed at export.
        images = batch.flip(3).permute(0, 3, 1, 2).to(self._own).div_(255.0).contiguous()
        found = [
            self._part(part)
            for part in torch.split(images, self._contract.batch.high or len(images))
        ]
        return (
            found[0] if len(found) == 1 else Candidates(*map(torch.cat, zip(*found, strict=True)))
        )

    @torch.inference_mode()
    def prove(self, size: tuple[int, int], source: str) -> None:
        """Run a black image: whether weights and operators fit each other is known only then.

        Args:
            size: (height, width) of the input.
            source: name of the file, for messages.

        Raises:
            ModelFormatError: the program fails, or gives something else than it says.
        """
        image = torch.zeros(1, *size, 3, dtype=torch.uint8, device=self._device)
        try:
            boxes, scores, _ = self(image)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # Operators raise whatever they like for tensors that they were not exported with.
            reason = str(error).strip().partition("\n")[0]
            raise ModelFormatError(
                f"{source}: fails on a black image: {type(error).__name__}: {reason[:300]}"
            ) from error
        if boxes.shape != (*scores.shape, 4) or len(scores) != 1:
            raise ModelFormatError(
                f"{source}: gives boxes {list(boxes.shape)} and scores {list(scores.shape)} for "
                "one image, expected [1, b, 4] and [1, b]"
            )

    def _part(self, images: torch.Tensor) -> Candidates:
        """Candidates of at most as many images as the program takes."""
        count, least = len(images), self._contract.batch.low
        if count < least:
            images = torch.cat([images, images.new_zeros(least - count, *images.shape[1:])])
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            given = self._program(images)
        boxes, scores = self._read(_tensors(given))
        best, classes = scores[:count].max(dim=2)
        return Candidates(boxes[:count], best, classes)

    def _read(self, given: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes [n, b, 4] as corners and scores [n, b, classes], float32."""
        if self._contract.layout == "BoxesAndScores":
            boxes, scores = given
            return boxes.float(), scores.float()
        values = given[0].float().transpose(1, 2)
        centre, half = values[..., 0:2], values[..., 2:4] / 2.0
        return torch.cat([centre - half, centre + half], dim=2), values[..., 4:]


def _tensors(given: object) -> list[torch.Tensor]:
    """Tensors of what forward returned, in order."""
    if isinstance(given, torch.Tensor):
        return [given]
    parts = given.values() if isinstance(given, dict) else given
    return [tensor for part in parts for tensor in _tensors(part)]  # type: ignore[attr-defined]  # trees hold tuples, lists and dicts


def _autocast_dtype(own: torch.dtype, precision: str, device: torch.device) -> torch.dtype | None:
    """What autocast must compute in; None where the program runs as it is."""
    if precision == "Auto":
        return None
    wanted = dtype_for(precision, device)
    if wanted == own:
        return None
    if own != torch.float32:
        raise ModelError(
            f"spec.model.precision: found {precision}, and the program was exported in {own}; "
            "use Auto, or export it in Float32"
        )
    return wanted


def _drop_dtype_assertions(program: torch.fx.GraphModule) -> None:
    """Under autocast values have other dtypes than the exporter saw, on purpose."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001 - its name
            program.graph.erase_node(node)
    program.recompile()
