"""A device with streams. torch has streams and events of a CPU too, and the same tests run on both.

Where there is a GPU, they run on that too, with everything that `CudaBackend` adds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from carpool.errors import HandlerError  # noqa: E402 - needs torch
from carpool.host.backends.base import OutOfMemory  # noqa: E402 - as above
from carpool.host.backends.cuda import CudaBackend  # noqa: E402 - as above
from carpool.host.backends.torch_streams import StreamedBackend  # noqa: E402 - as above
from carpool.host.config import HostConfig  # noqa: E402 - as above
from carpool.host.launcher import Launcher, Loaded, LoadFailed, Outcome  # noqa: E402
from carpool.host.memory import ProcessMemory  # noqa: E402 - as above
from carpool.host.model_files import ModelPaths  # noqa: E402 - as above
from carpool.host.work import Batch, Part, Request  # noqa: E402 - as above
from support.host_fixed_handler import BAD, HARD, Alone, Looks, Sums, Wide, sums  # noqa: E402
from support.host_handlers import make_items  # noqa: E402 - as above

pytestmark = pytest.mark.torch


class OnCpu(StreamedBackend):
    def device_name(self) -> str:
        return "cpu with streams"

    def begin_peak(self) -> None:
        ProcessMemory.begin_peak()

    def peak_bytes(self) -> int:
        return ProcessMemory.peak_bytes()


DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)])


def made(device: str, handler: Sums, kind: type[OnCpu] = OnCpu, **fields: Any) -> StreamedBackend:
    config = HostConfig(handler="", device=device, **({"max_batch": 8} | fields))
    if device == "cpu":
        return kind(handler, config, 1)
    return CudaBackend(handler, config, 1)


def loaded(device: str, handler: Sums | None = None, **fields: Any) -> StreamedBackend:
    backend = made(device, handler or Sums({}), **fields)
    backend.load(ModelPaths())
    return backend


def first_bytes(count: int, *firsts: int) -> np.ndarray:
    items = make_items(count, seed=count)
    items[: len(firsts), 0, 0, 0] = firsts
    return items


def assert_right(found: Sequence[np.ndarray], items: np.ndarray) -> None:
    assert len(found) == len(items)
    for rows, item in zip(found, items, strict=True):
        np.testing.assert_array_equal(rows, sums(item))


@DEVICES
@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    hard=st.sets(st.integers(0, 23), max_size=3),
    sizes=st.sampled_from([(), (24,), (2, 7, 24)]),
)
def test_rows_are_those_of_predict_however_a_batch_is_put_together(device, cuts, hard, sizes):
    backend = loaded(device, max_batch=24, batch_sizes=sizes)
    items = make_items(sum(cuts), seed=len(cuts))
    items[[index for index in hard if index < len(items)], 0, 0, 0] = HARD
    ends = np.cumsum(cuts)
    assert_right(backend.run(np.split(items, ends[:-1])), items)


@DEVICES
def test_only_batches_whose_rows_are_not_known_ahead_are_computed_by_predict(device):
    handler = Sums({})
    backend = loaded(device, handler, batch_sizes=(4, 8))
    del handler.exact[:]
    backend.run([first_bytes(8)])
    assert handler.exact == []
    assert_right(backend.run([first_bytes(3, 1, HARD)]), first_bytes(3, 1, HARD))
    assert handler.exact == [4], "all of the batch, as it was padded"


@DEVICES
def test_what_is_mostly_computed_twice_is_computed_by_predict_alone(device):
    """One item is enough: all of its batch is computed twice."""
    handler = Sums({})
    backend = loaded(device, handler)
    for _ in range(33):
        backend.run([first_bytes(8, HARD)])
    assert not backend.ahead
    del handler.exact[:]
    assert_right(backend.run([first_bytes(5, HARD)]), first_bytes(5, HARD))
    assert handler.exact == [backend.shapes.padded(5)]


@DEVICES
def test_what_is_seldom_computed_twice_stays_ahead(device):
    backend = loaded(device)
    for number in range(65):
        backend.run([first_bytes(8, *[HARD] * (number % 9 == 0))])
    assert backend.ahead


@DEVICES
@pytest.mark.parametrize("handler", [Alone, Looks])
def test_a_handler_without_predict_fixed_or_one_that_waits_runs_all_the_same(device, handler):
    backend = loaded(device, handler({}))
    assert_right(backend.run([first_bytes(6)]), first_bytes(6))


@DEVICES
def test_fixed_rows_are_held_against_the_contract(device):
    with pytest.raises(
        HandlerError, match=r"predict_fixed returned rows \[1, 1, 7\].*at most 4, 6"
    ):
        loaded(device, Wide({}))


@DEVICES
def test_an_error_of_predict_is_the_batchs_and_the_next_batch_is_right(device):
    backend = loaded(device)
    with pytest.raises(ValueError, match="a bad item"):
        backend.run([first_bytes(4, BAD)])
    assert_right(backend.run([first_bytes(8)]), first_bytes(8))


def test_no_memory_is_told_by_its_type(monkeypatch):
    backend = loaded("cpu")

    def short(_: Any) -> None:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")

    with monkeypatch.context() as patch:
        patch.setattr(backend.handler, "predict_fixed", short)
        with pytest.raises(OutOfMemory, match="ALLOC_FAILED"):
            backend.run([first_bytes(8)])
    assert_right(backend.run([first_bytes(8)]), first_bytes(8))


class Watched(OnCpu):
    """Remembers what its streams and events were told, in order."""

    told: list[str]

    def new_event(self) -> Any:
        backend = self

        class Event(torch.cpu.Event):  # type: ignore[misc]  # torch has no types for it
            def record(self, stream: Any = None) -> None:
                backend.told.append("record")

            def synchronize(self) -> None:
                backend.told.append("wait")

        return Event()


@pytest.mark.parametrize("fails", ["stage", "launch"])
def test_a_batch_fails_only_when_nothing_is_read_from_its_clients_any_more(fails, monkeypatch):
    backend = made("cpu", Sums({}), Watched)
    backend.told = []
    backend.load(ModelPaths())

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    items = first_bytes(8)
    with monkeypatch.context() as patch:
        if fails == "stage":
            patch.setattr(torch, "from_numpy", broken)
            del backend.told[:]
            with pytest.raises(RuntimeError, match="broken"):
                backend.stage([items])
        else:
            staged = backend.stage([items])
            patch.setattr(backend.handler, "predict_fixed", broken)
            del backend.told[:]
            with pytest.raises(RuntimeError, match="broken"):
                backend.launch(staged)
    assert backend.told == ["record", "wait"]
    assert_right(backend.run([items]), items)


def test_places_are_made_once(monkeypatch):
    backend = loaded("cpu", batch_sizes=(2, 8))

    def forbidden(size: int) -> Any:
        raise AssertionError(f"a place for {size} items is made while clients wait")

    monkeypatch.setattr(backend, "_new_place", forbidden)
    for count in (1, 8, 3):
        items = first_bytes(count)
        staged = [backend.stage([items]) for _ in range(backend.depth)]
        for one in staged:
            assert_right(backend.collect(backend.launch(one)), items)


@DEVICES
def test_rows_that_were_given_are_not_overwritten_by_the_next_batch(device):
    backend = loaded(device)
    items = first_bytes(8)
    first = backend.run([items])
    backend.run([255 - items])
    assert_right(first, items)


def batch_of(items: np.ndarray) -> Batch:
    request = Request(client=0, number=0, slot=0, items=len(items), deaths=0, arrived=0.0)
    return Batch([Part(request, 0, len(items))])


class Threads(Sums):
    """Remembers which thread calls `predict` for how many items. Parameters: `raises` in which."""

    def predict(self, batch: Any) -> Any:
        name = threading.current_thread().name
        self._parameters.setdefault("calls", []).append((name, len(batch)))
        if name == self._parameters.get("raises"):
            raise RuntimeError("no plan")
        return super().predict(batch)


def launching(backend: StreamedBackend) -> tuple[Launcher, SimpleQueue[Any]]:
    posted: SimpleQueue[Any] = SimpleQueue()
    launcher = Launcher(backend, posted.put)
    launcher.start(ModelPaths)
    return launcher, posted


@DEVICES
@pytest.mark.parametrize("without", [(), ("overlap",)])
def test_before_clients_come_the_collector_has_computed_every_size(device, without):
    told: dict[str, Any] = {}
    backend = made(device, Threads(told), batch_sizes=(2, 4, 8), without=without)
    _, posted = launching(backend)
    assert isinstance(posted.get(timeout=60), Loaded)
    collector = "launcher" if without else "collector"
    assert [call for call in told["calls"] if call[0] == collector][-3:] == [
        (collector, size) for size in (8, 4, 2)
    ]


def test_a_collector_that_cannot_compute_is_found_before_clients_come():
    _, posted = launching(made("cpu", Threads({"raises": "collector"})))
    failed = posted.get(timeout=30)
    assert isinstance(failed, LoadFailed)
    assert "no plan" in str(failed.error)


@DEVICES
def test_where_the_launcher_alone_computes_the_collector_is_not_warmed_up(device):
    class Only(Threads):
        def predict_fixed(self, batch: Any) -> None:
            return None

    told: dict[str, Any] = {}
    _, posted = launching(made(device, Only(told)))
    assert isinstance(posted.get(timeout=60), Loaded)
    assert {name for name, _ in told["calls"]} == {"launcher"}


@pytest.mark.parametrize("without", [(), ("overlap",)])
def test_while_one_batch_is_collected_the_next_is_launched(without):
    """The second is launched although nobody has collected the first; without overlap it is not."""
    started, may_collect = threading.Event(), threading.Event()
    launched: SimpleQueue[int] = SimpleQueue()

    class Observed(OnCpu):
        def launch(self, staged: Any) -> Any:
            found = super().launch(staged)
            if started.is_set():
                launched.put(staged.items)
            return found

        def collect(self, running: Any) -> Any:
            if started.is_set():
                assert may_collect.wait(30)
            return super().collect(running)

    backend = Observed(Sums({}), HostConfig(handler="", max_batch=8, without=without), 1)
    launcher, posted = launching(backend)
    assert isinstance(posted.get(timeout=30), Loaded)
    started.set()
    batches = [first_bytes(5), first_bytes(6)]
    for items in batches:
        launcher.submit(batch_of(items), [items])
    assert launched.get(timeout=30) == 5
    if without:
        assert backend.depth == 1
    else:
        assert launched.get(timeout=30) == 6
    may_collect.set()
    for items in batches:
        outcome = posted.get(timeout=30)
        assert isinstance(outcome, Outcome)
        assert outcome.rows is not None
        assert_right(outcome.rows, items)
