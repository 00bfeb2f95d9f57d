"""The handler that runs Darknet networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.errors import HandlerError, ModelFormatError, ModelNotFound
from carpool.vision.darknet.cfg import read_network
from carpool.vision.darknet.weights import read_weights
from carpool.vision.detector_parameters import DetectorParameters
from carpool.vision.handler import Handler
from carpool.vision.resize import fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carpool.vision.handler import Image, LoadContext, Rows
    from carpool.vision.resize import Placement
    from carpool.vision.torch.detector import Detector


class DarknetDetector(Handler):
    """Detector for a Darknet .cfg with its .weights.

    Args:
        parameters: those of `DetectorParameters`, complete (see `carpool.vision.darknet.resolve`);
            `weights` and `names`, which only say where files are, are allowed and not read.
    """

    reentrant = True

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = DetectorParameters.from_mapping(parameters, extra=("weights", "names"))
        self._detector: Detector | None = None
        self.input_shape = (*self._parameters.input_size, 3)
        self.class_names = self._parameters.class_names

    def preprocess(self, frame: Image, out: Image) -> Placement:
        """Fit a frame into its slot; see `Handler.preprocess`."""
        return fit(frame, out, self._parameters.resize)

    def load(self, context: LoadContext) -> None:
        """Build the network and read its values.

        Args:
            context: `model_path` is the .cfg, `files["weights"]` the .weights.

        Raises:
            ModelNotFound: a file is missing.
            ModelFormatError: a file is malformed, or does not fit the other or the class names.
            ModelError: the device does not compute in the precision asked for.
        """
        import torch  # noqa: PLC0415 - only the host has torch; tasks import this module too

        from carpool.vision.torch.darknet_network import (  # noqa: PLC0415 - imports torch
            DarknetNetwork,
        )
        from carpool.vision.torch.detector import Detector  # noqa: PLC0415 - imports torch
        from carpool.vision.torch.precision import dtype_for  # noqa: PLC0415 - imports torch

        weights = context.files.get("weights")
        if context.model_path is None or weights is None:
            missing = "a .cfg (spec.model.uri)" if context.model_path is None else "a .weights file"
            raise ModelNotFound(f"a Darknet model needs {missing}, and none was given to the host")
        network = read_network(context.model_path, self._parameters.input_size)
        if network.classes != len(self.class_names):
            raise ModelFormatError(
                f"{network.source}: found classes={network.classes}, "
                f"expected {len(self.class_names)}, the number of class names"
            )
        device = torch.device(context.device)
        self._detector = Detector(
            DarknetNetwork(
                network,
                read_weights(weights, network),
                device,
                dtype_for(context.precision, device),
            ),
            device=device,
            classes=network.classes,
            class_ids=self._parameters.class_ids,
            score_threshold=self._parameters.score_threshold,
            iou_threshold=self._parameters.iou_threshold,
            max_rows=self.output_rows,
        )

    def predict(self, batch: Any) -> Sequence[Any]:
        """Detect; see `Handler.predict`. Rows are CPU tensors, also from a GPU.

        Raises:
            HandlerError: `load` was not called.
        """
        if self._detector is None:
            raise HandlerError("DarknetDetector.predict was called before load")
        return self._detector(batch)

    def postprocess(self, rows: Rows, info: Placement) -> Rows:
        """Map boxes back to the source frame; see `Handler.postprocess`."""
        return info.to_source(rows)
