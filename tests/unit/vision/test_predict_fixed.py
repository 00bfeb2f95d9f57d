"""`predict_fixed` of our detectors: the same rows, and nothing that a GPU would be waited for.

Fake tensors have shapes and devices and no values: whatever would have to look at a value raises,
and so does an operation between two devices. Copies between devices do not, so these are looked for
as well. So a GPU's part is checked where there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import (  # noqa: E402 - needs torch
    DataDependentOutputException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - as above
from torch.utils._pytree import tree_leaves  # noqa: E402 - as above

from carpool.vision.darknet.cfg import parse_network  # noqa: E402 - as above
from carpool.vision.darknet.random_weights import random_weights  # noqa: E402 - as above
from carpool.vision.torch.darknet_network import DarknetNetwork  # noqa: E402 - as above
from carpool.vision.torch.detector import Detector  # noqa: E402 - as above
from support.darknet_cfgs import ALL_LAYERS_CFG  # noqa: E402 - as above

pytestmark = pytest.mark.torch

NETWORK = parse_network(ALL_LAYERS_CFG, "all.cfg")


class StaysOnDevice(TorchDispatchMode):
    """Every operation takes and gives tensors of the GPU alone; counts them."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if torch.is_tensor(leaf)]
        places = {tensor.device.type for tensor in tensors}
        assert places <= {"cuda"}, f"{func} has tensors on {places}"
        self.operations += 1
        return found


def detector(device: str, dtype: torch.dtype, score: float = 0.008) -> Detector:
    where = torch.device(device)
    return Detector(
        DarknetNetwork(NETWORK, random_weights(NETWORK, seed=5), where, dtype),
        device=where,
        classes=NETWORK.classes,
        class_ids=[0],
        score_threshold=score,
        iou_threshold=0.3,
        max_rows=50,
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("score", [0.0, 0.008, 0.9])
def test_it_gives_the_rows_of_predict(device, score):
    ours = detector(device, torch.float32, score)
    images = np.random.default_rng(3).integers(0, 256, (5, 64, 32, 3), np.uint8)
    batch = torch.from_numpy(images).to(device)
    exact = ours(batch)
    found = ours.ahead(batch)
    assert sum(len(rows) for rows in exact) > 0 or score == 0.9
    for rows, count, wanted in zip(found.rows, found.counts.tolist(), exact, strict=True):
        assert count == len(wanted)
        torch.testing.assert_close(rows[:count].cpu(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_gpu_nothing_is_waited_for(dtype):
    with FakeTensorMode():
        ours = detector("cuda:0", dtype)
        batch = torch.zeros(4, 64, 32, 3, dtype=torch.uint8, device="cuda:0")
        with StaysOnDevice() as watch:
            found = ours.ahead(batch)
        assert watch.operations > 100
        assert found.rows.shape == (4, 50, 6)
        assert found.counts.shape == (4,)
        assert found.rows.dtype == torch.float32
        assert {found.rows.device, found.counts.device} == {torch.device("cuda:0")}
        # What `predict` does: the check above can fail.
        with pytest.raises(DataDependentOutputException):
            ours(batch)
        with pytest.raises(AssertionError, match="has tensors on"), StaysOnDevice():
            found.rows.cpu()
        with pytest.raises(AssertionError, match="has tensors on"), StaysOnDevice():
            torch.tensor([1.0], device="cuda:0")
