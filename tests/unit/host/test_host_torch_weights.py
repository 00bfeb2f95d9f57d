"""What the host says a model weighs, wherever the handler keeps it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from carpool.host.backends.torch_cpu import TorchCpuBackend  # noqa: E402 - needs torch
from carpool.host.config import HostConfig  # noqa: E402 - as above

pytestmark = pytest.mark.torch


class Wrapped:
    """A detector that is no module itself, as handlers often have one; and points to itself."""

    def __init__(self) -> None:
        self.network = torch.nn.Linear(10, 5)
        self.again = [self.network.weight]
        self.me = self


class Holder:
    framework = "torch"
    reentrant = False

    def __init__(self) -> None:
        self.detector = Wrapped()


def test_weights_inside_objects_of_the_handler_count_once():
    backend = TorchCpuBackend(Holder(), HostConfig(handler="x:Y"), 1)
    assert backend.weights_bytes() == 4 * (10 * 5 + 5)
