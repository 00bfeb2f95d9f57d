"""A torch handler on the CPU, through a real host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carpool.host.client import HostClient, ItemFailure
from carpool.host.config import HostConfig
from support.host_handlers import make_items
from support.host_process import RunningHost, config
from support.host_torch_handler import expected

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def torch_config(**fields: Any) -> HostConfig:
    return replace(config(**fields), handler="support.host_torch_handler:Convolution")


def infer(client: HostClient, items: np.ndarray) -> list[Any]:
    slot = client.acquire()
    slot.items[: len(items)] = items
    client.submit(slot, len(items))
    (done,) = client.drain()
    return done.rows


def test_torch_rows_are_those_of_numpy_and_a_bad_item_fails_alone() -> None:
    with RunningHost(torch_config(parameters={"bad": 99})) as host, host.client() as client:
        items = make_items(11, 0)
        for rows, item in zip(infer(client, items), items, strict=True):
            assert not isinstance(rows, ItemFailure)
            np.testing.assert_allclose(rows, expected(item), rtol=1e-4, atol=1e-5)
        items[4, 0, 0, 0] = 99
        failed = [isinstance(rows, ItemFailure) for rows in infer(client, items)]
        assert failed == [index == 4 for index in range(11)]
        figures = client.statistics()
        assert figures["max_batch"] == 8
        assert figures["model"]["device"] == "cpu, 1 threads"
        assert figures["model"]["weights_bytes"] == 4 * (8 * 3 * 3 * 3 + 8)


def test_deterministic_rows_do_not_depend_on_companions() -> None:
    settings = torch_config(deterministic=True, max_batch=6)
    with RunningHost(settings) as host, host.client() as client:
        items = make_items(13, 1)
        together = infer(client, items)
        singly = [infer(client, items[index : index + 1])[0] for index in range(13)]
        assert all(map(np.array_equal, together, singly))
