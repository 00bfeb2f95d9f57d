"""What all handlers of detectors share, whatever format their network comes in.

Tasks import this module too: torch is imported when a network is there, which only the host loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.errors import HandlerError
from carpool.vision.handler import FixedRows, Handler
from carpool.vision.resize import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import device, nn

    from carpool.vision.detector_parameters import DetectorParameters
    from carpool.vision.handler import Image, Rows
    from carpool.vision.resize import Placement
    from carpool.vision.torch.detector import Detector


class DetectorHandler(Handler):
    """A handler whose `load` gives a network that proposes boxes to `_detect_with`."""

    def _prepare(self, parameters: DetectorParameters) -> None:
        """Take the parameters, complete; for `__init__`."""
        self._parameters = parameters
        self._detector: Detector | None = None
        self.input_shape = (*parameters.input_size, 3)
        self.class_names = parameters.class_names

    def _detect_with(self, network: nn.Module, *, classes: int, device: device) -> None:
        """Choose classes and suppress duplicates among what a network proposes; for `load`.

        Args:
            network: gives `Candidates` for a batch of frames.
            classes: number of classes of the network.
            device: where the network is.
        """
        from carpool.vision.torch.detector import Detector  # noqa: PLC0415 - imports torch

        self._detector = Detector(
            network,
            device=device,
            classes=classes,
            class_ids=self._parameters.class_ids,
            score_threshold=self._parameters.score_threshold,
            iou_threshold=self._parameters.iou_threshold,
            max_rows=self.output_rows,
        )

    def preprocess(self, frame: Image, out: Image) -> Placement:
        """Fit a frame into its slot; see `Handler.preprocess`."""
        return fit(frame, out, self._parameters.resize)

    def predict(self, batch: Any) -> Sequence[Any]:
        """Detect; see `Handler.predict`. Rows are CPU tensors, also from a GPU.

        Raises:
            HandlerError: `load` was not called.
        """
        return self._loaded()(batch)

    def predict_fixed(self, batch: Any) -> FixedRows | None:
        """Detect without waiting; see `Handler.predict_fixed`.

        Raises:
            HandlerError: `load` was not called.
        """
        return self._loaded().ahead(batch)

    def postprocess(self, rows: Rows, info: Placement) -> Rows:
        """Map boxes back to the source frame; see `Handler.postprocess`."""
        return info.to_source(rows)

    def _loaded(self) -> Detector:
        if self._detector is None:
            raise HandlerError(f"{type(self).__name__}.predict was called before load")
        return self._detector
