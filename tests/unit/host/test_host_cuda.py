"""What the host does with a CUDA device beyond streams: recorded batches, pinned arenas, its share.

The tests that need no device run everywhere; the others say so.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from carpool.errors import ModelError  # noqa: E402 - needs torch
from carpool.host.arena import Arena, ArenaLayout, SlotFormat, create_arena  # noqa: E402 - as above
from carpool.host.backends.base import DeviceLost, OutOfMemory  # noqa: E402 - as above
from carpool.host.backends.cuda import CudaBackend  # noqa: E402 - as above
from carpool.host.backends.cuda_share import share_bytes  # noqa: E402 - as above
from carpool.host.child import _exit_code as exit_code  # noqa: E402 - as above
from carpool.host.config import HostConfig  # noqa: E402 - as above
from carpool.host.model_files import ModelPaths  # noqa: E402 - as above
from carpool.host.termination import ExitCode  # noqa: E402 - as above
from support.host_fixed_handler import HARD, Looks, Sums, sums  # noqa: E402 - as above
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE, make_items  # noqa: E402 - as above

pytestmark = pytest.mark.torch

GIB = 1 << 30


def cuda_backend(handler: Sums | None = None, **fields: Any) -> CudaBackend:
    config = HostConfig(handler="", device="cuda:0", **fields)
    return CudaBackend(handler or Sums({}), config, 1)


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({}, None),
        ({"memory_bytes": 8 * GIB}, 8 * GIB),
        ({"memory_bytes": 90 * GIB}, 80 * GIB),
        ({"memory_fraction": 0.25}, 20 * GIB),
        ({"memory_fraction": 1.0}, None),
        ({"memory_bytes": 8 * GIB, "memory_fraction": 0.25}, 8 * GIB),
    ],
)
def test_the_share_is_what_was_named_or_a_part_of_the_device(fields, share):
    assert share_bytes(HostConfig(handler="", **fields), 80 * GIB) == share


def test_batches_have_few_sizes_so_that_each_can_be_recorded():
    assert cuda_backend(max_batch=24).shapes.sizes == (1, 2, 4, 8, 16, 24)
    assert cuda_backend(max_batch=24, batch_sizes=(8, 16)).shapes.sizes == (8, 16, 24)
    assert cuda_backend(max_batch=24, deterministic=True).shapes.sizes == (24,)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_the_device_is_lost_and_named():
    with pytest.raises(DeviceLost, match="device cuda:0 cannot be used"):
        cuda_backend().load(ModelPaths())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"),
    ],
)
def test_a_device_that_others_have_filled_for_a_moment_is_tried_again(error, monkeypatch):
    def full() -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "init", full)
    with pytest.raises(OutOfMemory, match="device cuda:0 has no memory left") as raised:
        cuda_backend().load(ModelPaths())
    assert exit_code(raised.value) is ExitCode.CRASHED


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_an_arena_is_simply_not_pinned(caplog):
    backend = cuda_backend()
    memory = np.zeros(4096, np.uint8)
    with caplog.at_level(logging.WARNING, "carpool.host"):
        backend.attach(memory)
    assert "is not pinned" in caplog.text
    backend.detach(memory)


def test_a_size_that_finds_no_memory_is_not_chosen_and_does_not_end_the_load(monkeypatch):
    """The device is played: what is held is that its error is read, wherever it comes up."""
    backend = cuda_backend()

    def run(size: int) -> None:
        if size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend, "run_predict", run)
    monkeypatch.setattr(backend, "record_shapes", lambda: False)
    monkeypatch.setattr(backend, "_shortest", lambda size: 1.0)
    assert backend.paying_batch() == 8


def test_sizes_are_compared_as_they_will_run(monkeypatch):
    """The device is played, as above: recorded before they are timed, and not run otherwise."""
    backend = cuda_backend()
    did: list[Any] = []

    def record() -> bool:
        backend._records = object()
        did.append("recorded")
        return True

    monkeypatch.setattr(backend, "record_shapes", record)
    monkeypatch.setattr(backend, "run_predict", did.append)
    monkeypatch.setattr(backend, "_shortest", lambda size: did.append("timed") or float(size))
    assert backend.paying_batch() == 1
    assert did == ["recorded"] + ["timed"] * len(backend.shapes.sizes)


def test_records_that_leave_no_memory_for_predict_are_given_up(monkeypatch, caplog):
    """The device is played, as above."""
    backend = cuda_backend(max_batch=4)
    backend._records = object()
    asked: list[int] = []

    def run(size: int) -> None:
        asked.append(size)
        if backend._records is not None and size == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend, "run_predict", run)
    with caplog.at_level(logging.WARNING, "carpool.host"):
        backend.warm_collector()
    assert backend._records is None
    assert asked == [4, 4, 2, 1]
    assert "batches run unrecorded" in caplog.text


def made_arena() -> Arena:
    arena, _ = create_arena(ArenaLayout(SlotFormat(SHAPE, OUTPUT_ROWS, ROW_WIDTH), 2, 16))
    arena.memory[:] = 0
    return arena


@pytest.mark.cuda
def test_items_of_a_pinned_arena_are_computed_where_they_lie():
    backend = cuda_backend(max_batch=16)
    arena = made_arena()
    backend.attach(arena.memory)
    assert torch.from_numpy(arena.items[0]).is_pinned()
    backend.load(ModelPaths())
    arena.items[1] = make_items(16, 0)
    for rows, item in zip(backend.run([arena.items[1]]), arena.items[1], strict=True):
        np.testing.assert_array_equal(rows, sums(item))
    backend.detach(arena.memory)
    assert not torch.from_numpy(arena.items[0]).is_pinned()


@pytest.mark.cuda
def test_memory_that_cannot_be_pinned_does_no_harm(caplog):
    backend = cuda_backend(max_batch=4)
    memory = made_arena().memory

    def pin() -> None:
        backend.attach(memory)
        backend.attach(memory)  # known
        backend.attach(memory[4096:8192])  # part of what is pinned

    with caplog.at_level(logging.WARNING, "carpool.host"), ThreadPoolExecutor(1) as mapper:
        mapper.submit(pin).result()
        assert caplog.text.count("is not pinned: cudaHostRegister gave") == 1
        backend.load(ModelPaths())
        backend.run([make_items(4, 0)])
        mapper.submit(backend.detach, memory).result()
    assert "stays pinned" not in caplog.text


@pytest.mark.cuda
@pytest.mark.parametrize("without", [(), ("cuda_graphs",)])
def test_a_batch_of_every_size_is_replayed_from_its_record(without, monkeypatch):
    handler = Sums({})
    backend = cuda_backend(handler, max_batch=8, without=without)
    report = backend.load(ModelPaths())
    assert report.shapes.sizes == (1, 2, 4, 8)
    calls: list[int] = []
    fixed = handler.predict_fixed
    monkeypatch.setattr(handler, "predict_fixed", lambda b: calls.append(len(b)) or fixed(b))
    for count in range(1, 9):
        items = make_items(count, count)
        for rows, item in zip(backend.run([items]), items, strict=True):
            np.testing.assert_array_equal(rows, sums(item))
    assert calls == ([1, 2, 4, 4, 8, 8, 8, 8] if without else [])


@pytest.mark.cuda
@pytest.mark.parametrize("pays", [4, 64])
def test_only_sizes_that_pay_stay_recorded(pays, monkeypatch):
    handler = Sums({})
    backend = cuda_backend(handler)
    monkeypatch.setattr(backend, "_shortest", lambda size: float(max(size, pays)))
    report = backend.load(ModelPaths())
    assert report.max_batch == pays
    assert backend._records.sizes == report.shapes.sizes
    items = make_items(pays, 0)
    for rows, item in zip(backend.run([items]), items, strict=True):
        np.testing.assert_array_equal(rows, sums(item))


@pytest.mark.cuda
def test_what_cannot_be_recorded_runs_unrecorded_and_says_so(caplog):
    backend = cuda_backend(Looks({}), max_batch=4)
    with caplog.at_level(logging.WARNING, "carpool.host"):
        backend.load(ModelPaths())
    assert "batches run unrecorded" in caplog.text
    # Where recording was tried and failed, torch's allocator may keep what it should give back.
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(0)
    torch.empty(1 << 28, device="cuda:0")
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved(0) == before
    items = make_items(3, 0)
    for rows, item in zip(backend.run([items]), items, strict=True):
        np.testing.assert_array_equal(rows, sums(item))


class Hungry(Sums):
    """Each item of a batch takes 64 MiB while it is computed."""

    def _rows(self, batch: Any) -> Any:
        room = torch.zeros(len(batch), 1 << 24, device=batch.device)
        return super()._rows(batch) + room[:, :1, None]


@pytest.mark.cuda
@pytest.mark.parametrize("share", ["bytes", "fraction"])
def test_the_largest_batch_follows_from_the_share(share):
    total = torch.cuda.mem_get_info(0)[1]
    wanted = 2 * GIB
    fields = {"memory_bytes": wanted} if share == "bytes" else {"memory_fraction": wanted / total}
    try:
        # A size is named, so that memory alone decides.
        backend = cuda_backend(Hungry({}), max_batch=64, **fields)
        report = backend.load(ModelPaths())
        assert 1 < report.max_batch < 32
        assert report.memory.budget == pytest.approx(wanted, abs=1 << 20)
        backend.run([make_items(report.max_batch, 0)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


@pytest.mark.cuda
def test_what_cannot_be_told_ahead_takes_no_memory_that_was_not_there_before_clients_came():
    try:
        backend = cuda_backend(Hungry({}), memory_bytes=2 * GIB, max_batch=64)
        report = backend.load(ModelPaths())
        with ThreadPoolExecutor(1) as collector:
            collector.submit(backend.warm_collector).result()
            reserved = torch.cuda.memory_reserved(0)
            for size in report.shapes.sizes:
                items = make_items(size, size)
                items[0, 0, 0, 0] = HARD
                launched = backend.launch(backend.stage([items]))
                rows = collector.submit(backend.collect, launched).result()
                np.testing.assert_array_equal(rows[0], sums(items[0]))
            assert torch.cuda.memory_reserved(0) == reserved
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


@pytest.mark.cuda
def test_a_batch_beyond_the_share_is_no_memory_and_a_smaller_one_runs_after_it():
    try:
        backend = cuda_backend(
            Hungry({}), memory_bytes=2 * GIB, max_batch=8, without=("cuda_graphs",)
        )
        backend.load(ModelPaths())
        backend.shapes, backend.max_batch = type(backend.shapes)(), 64
        with pytest.raises(OutOfMemory):
            backend.run([make_items(64, 0)])
        backend.free_memory()
        assert len(backend.run([make_items(8, 0)])) == 8
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


@pytest.mark.cuda
def test_a_share_that_cuda_itself_fills_is_refused():
    with pytest.raises(ModelError, match="of which CUDA itself takes"):
        cuda_backend(memory_bytes=1 << 20).load(ModelPaths())


@pytest.mark.cuda
def test_records_give_their_memory_back_when_they_are_not_used_any_more():
    backend = cuda_backend(Hungry({}), max_batch=8)
    backend.load(ModelPaths())
    items = make_items(8, 0)
    backend.run([items])
    torch.cuda.empty_cache()
    recorded = torch.cuda.memory_reserved(0)
    items[:, 0, 0, 0] = HARD
    for _ in range(40):
        backend.run([items])
    assert not backend.ahead
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved(0) <= recorded - 8 * (64 << 20)


class Heavy(Sums):
    """Its weights take 4 GiB."""

    def load(self, context: Any) -> None:
        super().load(context)
        self._weights = torch.zeros(1 << 30, device=context.device)


@pytest.mark.cuda
def test_a_model_that_the_share_does_not_hold_is_refused_for_good():
    try:
        with pytest.raises(ModelError, match="does not fit the host's share"):
            cuda_backend(Heavy({}), memory_bytes=3 * GIB).load(ModelPaths())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
