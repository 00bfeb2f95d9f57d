"""The handler that runs exported detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.errors import HandlerError, ModelNotFound
from carpool.vision.detector_parameters import DetectorParameters
from carpool.vision.handler import Handler
from carpool.vision.resize import fit
from carpool.vision.torch_export.contract import detector_contract
from carpool.vision.torch_export.inspection import inspect
from carpool.vision.torch_export.resolve import check_classes, check_input_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carpool.vision.handler import Image, LoadContext, Rows
    from carpool.vision.resize import Placement
    from carpool.vision.torch.detector import Detector


class ExportedDetector(Handler):
    """Detector for a .pt2 archive that keeps the contract of `contract.DetectorContract`.

    Args:
        parameters: those of `DetectorParameters`, complete (see
            `carpool.vision.torch_export.resolve`).
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = DetectorParameters.from_mapping(parameters)
        self._detector: Detector | None = None
        self.input_shape = (*self._parameters.input_size, 3)
        self.class_names = self._parameters.class_names

    def preprocess(self, frame: Image, out: Image) -> Placement:
        """Fit a frame into its slot; see `Handler.preprocess`."""
        return fit(frame, out, self._parameters.resize)

    def load(self, context: LoadContext) -> None:
        """Inspect the archive and load the program.

        Raises:
            ModelNotFound: there is no such file.
            ModelUnsafe: the archive holds something that is not known to be safe.
            ModelFormatError: it is malformed, is no detector, does not fit the parameters, or fails
                on a black image.
            ModelError: the program does not compute in the precision asked for.
        """
        import torch  # noqa: PLC0415 - only the host has torch; tasks import this module too

        from carpool.vision.torch.detector import Detector  # noqa: PLC0415 - imports torch
        from carpool.vision.torch.exported_network import (  # noqa: PLC0415 - imports torch
            ExportedNetwork,
        )
        from carpool.vision.torch.exported_program import load_inspected  # noqa: PLC0415 - the same

        path = context.model_path
        if path is None:
            raise ModelNotFound(
                "an exported program needs a .pt2 file (spec.model.uri), and none was given"
            )
        with inspect(path) as program:
            contract = detector_contract(program.type, path.name)
            check_input_size(self._parameters.input_size, contract, path.name)
            check_classes(self._parameters.class_names, contract, path.name)
            network = ExportedNetwork(
                load_inspected(program, context.device),
                contract,
                precision=context.precision,
                device=torch.device(context.device),
            )
        network.prove(self._parameters.input_size, path.name)
        self._detector = Detector(
            network,
            device=torch.device(context.device),
            classes=contract.classes,
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
            raise HandlerError("ExportedDetector.predict was called before load")
        return self._detector(batch)

    def postprocess(self, rows: Rows, info: Placement) -> Rows:
        """Map boxes back to the source frame; see `Handler.postprocess`."""
        return info.to_source(rows)
