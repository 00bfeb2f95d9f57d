"""Handlers for whole jobs on the cluster; pods find this module in the shared directory."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carpool.errors import ModelFormatError
from carpool.vision.oracle import ColourOracle

FREE_FRAMES = 24
"""Two work units of the clips of tests, so that a host has results before it is held."""


class HeldOracle(ColourOracle):
    """The oracle on a host that stops in the middle of a batch until the test lets it go on.

    Its parameter `hold` is a folder that the test sees too. A host that is held makes a file of its
    pod's name there, and goes on when there is a file `go`.
    """

    reentrant = False

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__({key: value for key, value in parameters.items() if key != "hold"})
        self._hold = Path(parameters["hold"])
        self._frames = 0

    def predict(self, batch: Any) -> Sequence[Any]:
        # A host warms up on grey items.
        if frames := sum(item.std() > 0 for item in batch):
            if self._frames >= FREE_FRAMES:
                self._wait()
            self._frames += frames
        return super().predict(batch)

    def _wait(self) -> None:
        go = self._hold / "go"
        if not go.exists():
            (self._hold / socket.gethostname()).touch()
        while not go.exists():
            threading.Event().wait(0.05)  # between two machines nothing tells of a new file


class Unloadable(ColourOracle):
    """The oracle, if it could be loaded."""

    def load(self, context: Any) -> None:
        raise ModelFormatError("it was made not to load")


class DiesOnGpus(ColourOracle):
    """The oracle, whose host dies before it is ready on the GPUs of its parameter `bad`."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__({key: value for key, value in parameters.items() if key != "bad"})
        self._bad = parameters["bad"]

    def load(self, context: Any) -> None:
        if os.environ["NVIDIA_VISIBLE_DEVICES"] in self._bad:
            os._exit(70)
        super().load(context)
