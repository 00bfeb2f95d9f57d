"""The handler contract: the one class a user writes to bring a model.

`preprocess` and `postprocess` run in the Spark task, `load` and `predict` in the model host. The
same class is therefore built in two kinds of process, and this must stay true: importing the module
and `__init__` import no torch, read no file and cost nothing, because every Spark worker does both.
All that depends on files (input size from a cfg, class names) is resolved into `parameters` by the
driver before the first task starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from carpool.errors import CarpoolError, HandlerError

Image = NDArray[np.uint8]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What the host tells a handler when it loads the model.

    Attributes:
        device: a torch device string, "cpu" or "cuda:0".
        precision: "Auto", "Float32", "Float16" or "BFloat16", as in `spec.model.precision`.
        model_path: the local file of `spec.model.uri`, or None where the job names none.
        files: further local files by role, for example {"weights": Path("….weights")}.
        max_batch: the largest batch `predict` will ever be given.
    """

    device: str
    precision: str
    model_path: Path | None
    max_batch: int
    files: Mapping[str, Path] = field(default_factory=dict)


UNKNOWN = -1
"""In place of a count of rows: this way cannot tell an item's rows."""


@dataclass(frozen=True, slots=True)
class FixedRows:
    """Rows of a batch in tensors whose shapes follow from the batch's shape alone.

    Attributes:
        rows: float32 [n, r, row_width] with r ≤ output_rows, torch.
        counts: integer [n], torch: how many of an item's rows count, the others are meaningless;
            or UNKNOWN, and `predict` is called for the batch too.
    """

    rows: Any
    counts: Any


class Handler(ABC):
    """A user's model code.

    Attributes:
        framework: "torch" if `predict` takes and gives torch tensors, "numpy" if arrays.
        reentrant: whether several threads may be in `predict` at once; on a CPU the host then runs
            a batch a core, each on one thread, which costs less than all cores for each batch.
        input_shape: (height, width, channels) of one uint8 item in a slot.
        output_rows: the most rows `predict` may return for one item.
        row_width: columns of a row; 6 for detectors: x1, y1, x2, y2, score, class.
        class_names: name of each class id that `predict` may return.
    """

    framework: ClassVar[Literal["torch", "numpy"]] = "torch"
    reentrant: ClassVar[bool] = False
    input_shape: tuple[int, int, int]
    output_rows: int = 300
    row_width: int = 6
    class_names: Sequence[str] = ()

    @abstractmethod
    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Take `spec.model.parameters`; both processes; no torch, no file, no work.

        Raises:
            SpecError: a parameter is unknown or wrong; the message names it.
        """

    @abstractmethod
    def preprocess(self, frame: Image, out: Image) -> Any:
        """Write one item into its slot (Spark task).

        Args:
            frame: decoded frame, uint8 [H, W, 3], BGR.
            out: the item's place in shared memory, uint8 `input_shape`, to be written in place.

        Returns:
            Whatever `postprocess` needs to map rows back (scale, padding).
        """

    @abstractmethod
    def load(self, context: LoadContext) -> None:
        """Load the model (host, once per model copy).

        Raises:
            ModelError: the model cannot be loaded; the type and message say why.
        """

    @abstractmethod
    def predict(self, batch: Any) -> Sequence[Any]:
        """Run the model on one batch (host; one thread at a time unless `reentrant`).

        Args:
            batch: uint8 [n, h, w, c], n ≤ `max_batch`: a torch tensor on `context.device`, or an
                array where `framework` is "numpy". Must not be kept or written to.

        Returns:
            Per item its rows, float32 [k, row_width] with k ≤ output_rows.
        """

    def predict_fixed(self, batch: Any) -> FixedRows | None:  # noqa: ARG002 - see below
        """The same as `predict`, for a device that computes by itself; to be overridden.

        All operations and their shapes must follow from the batch's shape alone, and nothing may
        wait for the device (no `.item()`, `.cpu()`, `if tensor`, boolean index). The host then
        gives the device its work ahead of time, and on CUDA records it once for each size of
        batch and replays the record (a CUDA graph), instead of calling hundreds of operations.

        Args:
            batch: as for `predict`, on a GPU.

        Returns:
            The rows, on the device; None, as here, where a handler has `predict` alone.
        """
        return None

    @abstractmethod
    def postprocess(self, rows: Rows, info: Any) -> Rows:
        """Map an item's rows back to pixels of the source frame (Spark task).

        Args:
            rows: float32 [k, row_width] as `predict` gave them.
            info: what `preprocess` returned for the item.

        Returns:
            float32 [k, row_width], boxes in pixels of the source frame.
        """


def handler_class(reference: str) -> type[Handler]:
    """Import the class that `module:Class` names.

    Raises:
        HandlerError: the module or the class is missing, or is no `Handler`.
    """
    module_name, _, class_name = reference.partition(":")
    if not module_name or not class_name:
        raise HandlerError(f"handler {reference!r} is not of the form module:Class")
    try:
        found = getattr(import_module(module_name), class_name, None)
    except ImportError as error:
        raise HandlerError(
            f"handler {reference!r}: {error}; is the folder of {module_name}.py on PYTHONPATH?"
        ) from error
    except Exception as error:
        raise HandlerError(
            f"handler {reference!r}: {module_name} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if found is None:
        raise HandlerError(f"handler {reference!r}: module {module_name} has no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, Handler)):
        raise HandlerError(
            f"handler {reference!r} is not a subclass of carpool.vision.handler.Handler"
        )
    return found


def check_handler(reference: str, handler: Handler) -> None:
    """Refuse a handler that does not say what a slot must hold.

    Raises:
        HandlerError: names the attribute, what was found, what is expected.
    """
    shape = getattr(handler, "input_shape", None)
    whole = isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)
    if not (whole and isinstance(shape, tuple) and len(shape) == 3):
        raise HandlerError(
            f"{reference}: input_shape is {shape!r}, expected (height, width, channels)"
        )
    if handler.framework not in ("torch", "numpy"):
        raise HandlerError(
            f'{reference}: framework is {handler.framework!r}, expected "torch" or "numpy"'
        )


def build_handler(reference: str, parameters: Mapping[str, Any]) -> Handler:
    """Import the class that `module:Class` names and make one.

    Raises:
        HandlerError: as `handler_class`, or the constructor raised something of its own.
        SpecError: a parameter is unknown or wrong.
    """
    kind = handler_class(reference)
    try:
        return kind(parameters)
    except CarpoolError:
        raise
    except Exception as error:
        raise HandlerError(
            f"handler {reference!r} refuses spec.model.parameters: {type(error).__name__}: {error}"
        ) from error
