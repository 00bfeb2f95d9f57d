"""The model of benchmarks/sharing on a GPU is what its handler loaded, on whatever stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.sharing import torch_engine
from benchmarks.sharing.torch_engine import TorchEngine
from benchmarks.sharing.workloads import Target, Workload
from support.host_fixed_handler import Sums, sums
from support.host_handlers import SHAPE, make_items

pytestmark = pytest.mark.torch


class Late(Sums):
    """Its weights are there some tenths of a second after `load` returned."""

    def load(self, context: Any) -> None:
        import torch

        self._one = torch.zeros(1, device=context.device)
        torch.cuda._sleep(1 << 30)  # cycles
        self._one += 1


def engine(handler: type[Sums], device: str, monkeypatch: pytest.MonkeyPatch) -> TorchEngine:
    monkeypatch.setattr(torch_engine, "handler_class", lambda _: handler)
    monkeypatch.setattr(torch_engine, "_tune", lambda: None)  # this process's allocator is shared
    workload = Workload(name="sums", handler="", parameters={}, shape=SHAPE)
    target = Target("cuda" if device.startswith("cuda") else "cpu", device, 1)
    return TorchEngine(workload, target, None, 4, 1, shapes_repeat=False)


@pytest.mark.cuda
def test_a_lane_computes_with_weights_that_are_there(monkeypatch):
    lane = engine(Late, "cuda:0", monkeypatch).lane()
    items = make_items(4, 0)
    for rows, item in zip(lane.infer(items), items, strict=True):
        np.testing.assert_array_equal(rows, sums(item))


def test_rows_of_a_lane_are_those_of_the_handler(monkeypatch):
    lane = engine(Sums, "cpu", monkeypatch).lane()
    items = make_items(4, 0)
    for rows, item in zip(lane.infer(items), items, strict=True):
        np.testing.assert_array_equal(rows, sums(item))
