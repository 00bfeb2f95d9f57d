"""How large a batch of one lane of a CPU is: two items where that pays, else one."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import pytest

torch = pytest.importorskip("torch")

from carpool.host.backends.torch_cpu import TorchCpuBackend  # noqa: E402 - needs torch
from carpool.host.config import HostConfig  # noqa: E402 - as above
from carpool.host.model_files import ModelPaths  # noqa: E402 - as above
from support.host_handlers import Digest  # noqa: E402 - as above

pytestmark = pytest.mark.torch


class Costly(Digest):
    """Spends CPU time: so much for each batch, and so much for each of its items."""

    framework: ClassVar[Literal["torch", "numpy"]] = "torch"
    reentrant: ClassVar[bool] = True

    def __init__(self, *, batch: float, item: float) -> None:
        super().__init__({})
        self._batch, self._item = batch, item

    def predict(self, batch: Any) -> Any:
        ends = time.thread_time() + self._batch + len(batch) * self._item
        while time.thread_time() < ends:
            pass
        return [torch.zeros(0, self.row_width) for _ in batch]


def largest_batch(handler: Costly, **fields: Any) -> int:
    backend = TorchCpuBackend(handler, HostConfig(handler="", threads=2, **fields), 1)
    return backend.load(ModelPaths()).max_batch


def test_two_items_share_what_a_batch_costs_beside_them():
    assert largest_batch(Costly(batch=0.004, item=0.004)) == 2


def test_two_items_that_gain_nothing_by_each_other_are_computed_one_by_one():
    assert largest_batch(Costly(batch=0.0, item=0.004)) == 1


@pytest.mark.parametrize("fields", [{"max_batch": 2}, {"max_batch": 2, "deterministic": True}])
def test_whoever_names_a_size_gets_it(fields):
    assert largest_batch(Costly(batch=0.0, item=0.001), **fields) == 2
