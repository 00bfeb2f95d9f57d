"""The handler that runs exported detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.errors import ModelNotFound
from carpool.vision.detector_handler import DetectorHandler
from carpool.vision.detector_parameters import DetectorParameters
from carpool.vision.torch_export.contract import detector_contract
from carpool.vision.torch_export.inspection import inspect
from carpool.vision.torch_export.resolve import check_classes, check_input_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.vision.handler import LoadContext


class ExportedDetector(DetectorHandler):
    """Detector for a .pt2 archive that keeps the contract of `contract.DetectorContract`.

    Args:
        parameters: those of `DetectorParameters`, complete (see
            `carpool.vision.torch_export.resolve`).
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._prepare(DetectorParameters.from_mapping(parameters))

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
        self._detect_with(network, classes=contract.classes, device=torch.device(context.device))
