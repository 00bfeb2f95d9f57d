"""The handler that runs Darknet networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.errors import ModelFormatError, ModelNotFound
from carpool.vision.darknet.cfg import read_network
from carpool.vision.darknet.weights import read_weights
from carpool.vision.detector_handler import DetectorHandler
from carpool.vision.detector_parameters import DetectorParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.vision.handler import LoadContext


class DarknetDetector(DetectorHandler):
    """Detector for a Darknet .cfg with its .weights.

    Args:
        parameters: those of `DetectorParameters`, complete (see `carpool.vision.darknet.resolve`);
            `weights` and `names`, which only say where files are, are allowed and not read.
    """

    reentrant = True

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._prepare(DetectorParameters.from_mapping(parameters, extra=("weights", "names")))

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
        self._detect_with(
            DarknetNetwork(
                network,
                read_weights(weights, network),
                device,
                dtype_for(context.precision, device),
            ),
            classes=network.classes,
            device=device,
        )
