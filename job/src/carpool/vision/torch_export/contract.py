"""What a program must take and give to be a detector, told from its types alone.

One float tensor of images, [n, 3, h, w], RGB from 0 to 1; and either boxes [n, b, 4] as x1, y1, x2,
y2 in pixels of the input with scores [n, b, classes], or both in one tensor [n, 4 + classes, b]
with boxes as centre and size, which is what YOLOv8 and its successors export.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carpool.errors import ModelFormatError
from carpool.vision.torch_export.program import Dimension, ProgramType, TensorType

Layout = Literal["BoxesAndScores", "Combined"]

FLOATS = ("float32", "float16", "bfloat16")

_EXPECTED = (
    "expected one input of float [n, 3, h, w], and boxes [n, b, 4] with scores [n, b, classes] or "
    "one tensor [n, 4 + classes, b]; wrap the network before exporting it, or write a handler"
)


@dataclass(frozen=True, slots=True)
class DetectorContract:
    """A program that is a detector.

    Attributes:
        batch: images it takes at once.
        height: of its input, pixels.
        width: of its input, pixels.
        dtype: of its input, torch's name.
        layout: how boxes and scores come.
        classes: number of classes that it scores.
    """

    batch: Dimension
    height: Dimension
    width: Dimension
    dtype: str
    layout: Layout
    classes: int


def detector_contract(program: ProgramType, source: str) -> DetectorContract:
    """Tell whether a program is a detector, and which.

    Raises:
        ModelFormatError: it is none; the message says what it takes and gives.
    """
    match list(program.inputs.items()):
        case [("0.0", TensorType(dtype, (batch, channels, height, width)))] if (
            dtype in FLOATS and 3 in channels
        ):
            layout, classes = _output(program)
            if layout is not None and classes is not None:
                return DetectorContract(batch, height, width, dtype, layout, classes)
    raise ModelFormatError(
        f"{source}: takes {_shown(program.inputs)} and gives {_shown(program.outputs)}; {_EXPECTED}"
    )


def _output(program: ProgramType) -> tuple[Layout | None, int | None]:
    match list(program.outputs.values()):
        case [
            TensorType(_, (_, boxes, Dimension(4, 4))),
            TensorType(_, (_, scored, Dimension() as classes)),
        ] if boxes == scored and classes.fixed:
            return "BoxesAndScores", classes.fixed
        case [TensorType(_, (_, Dimension() as values, _))] if (values.fixed or 0) > 4:
            return "Combined", values.low - 4
    return None, None


def _shown(tensors: dict[str, TensorType | str]) -> str:
    listed = list(map(str, tensors.values()))
    return " and ".join(listed[:6]) + (" and more" if len(listed) > 6 else "") or "nothing"
