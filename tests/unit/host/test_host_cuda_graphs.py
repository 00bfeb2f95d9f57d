"""What a record that fails means: for its batch, or for the process.

The device is played: torch's own end of a recording raises where the device ended it before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from carpool.host.backends import cuda_graphs  # noqa: E402 - needs torch
from carpool.host.backends.base import ProcessSpoiled  # noqa: E402 - as above
from carpool.host.backends.cuda_graphs import RecordedBatches  # noqa: E402 - as above

pytestmark = pytest.mark.torch

ENDED = RuntimeError("CUDA error: operation failed due to a previous error during capture")


@pytest.fixture
def record(monkeypatch):
    """Records one batch of a function; `ends` is what the end of the recording raises."""

    def record(predict: Any, ends: Exception | None = None) -> Any:
        @contextmanager
        def graph(*_: Any, **__: Any) -> Iterator[None]:
            try:
                yield
            finally:
                if ends is not None:
                    raise ends

        played = SimpleNamespace(CUDAGraph=object, graph=graph)
        monkeypatch.setattr(cuda_graphs, "_cuda", played)
        return RecordedBatches((1,), torch.device("cpu"), None)._record(
            predict, torch.zeros(1, 1), None
        )

    return record


def raising(error: Exception) -> Any:
    def predict(_: Any) -> Any:
        raise error

    return predict


def test_what_the_function_raises_is_its_own_where_the_recording_ended_well(record):
    with pytest.raises(RuntimeError, match="no such kernel"):
        record(raising(RuntimeError("no such kernel")))


@pytest.mark.parametrize("predict", [lambda _: "rows", raising(RuntimeError("not permitted"))])
def test_a_recording_that_the_device_ended_spoils_the_process(record, predict):
    with pytest.raises(ProcessSpoiled, match="cannot be recorded") as raised:
        record(predict, ends=ENDED)
    assert raised.value.without == "cuda_graphs"


def test_no_memory_is_no_reason_to_give_recording_up(record):
    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        record(raising(error), ends=ENDED)
