from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpool.errors import (
    HandlerError,
    ModelError,
    SpecError,
)
from carpool.host.backends.base import OutOfMemory
from carpool.host.backends.choose import VARIABLE, choose_backend
from carpool.host.backends.handler_backend import HandlerBackend
from carpool.host.backends.numpy import NumpyBackend
from carpool.host.backends.simulated import SimulatedBackend
from carpool.host.config import HostConfig, SimulatedDevice
from carpool.host.model_files import ModelPaths
from carpool.vision.handler import LoadContext, Rows
from support.host_handlers import SHAPE, Digest, digest, make_items
from support.host_process import config


def loaded(settings: HostConfig, handler: Digest | None = None) -> HandlerBackend:
    backend = choose_backend(handler or Digest({}), settings, 1)
    backend.load(ModelPaths())
    return backend


def expected(items: np.ndarray) -> list[Rows]:
    return [digest(item) for item in items]


def same(found: Sequence[Rows], wanted: Sequence[Rows]) -> bool:
    return len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


@pytest.mark.parametrize("name", ["numpy", "simulated"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_parts_become_one_batch_and_rows_come_in_their_order(
    name: Any, deterministic: bool
) -> None:
    backend = loaded(config(backend=name, deterministic=deterministic))
    items = make_items(7, 0)
    assert same(backend.run([items[:3], items[3:4], items[4:]]), expected(items))


def test_the_smallest_size_may_be_larger_than_a_few_items() -> None:
    backend = loaded(config(batch_sizes=(4, 6), max_batch=6))
    assert backend.shapes.sizes == (4, 6)
    items = make_items(5, 0)
    assert same(backend.run([items]), expected(items))


def test_deterministic_batches_have_one_shape() -> None:
    seen = set()

    class Watched(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            seen.add(batch.shape)
            return super().predict(batch)

    backend = loaded(config(deterministic=True, max_batch=5), Watched({}))
    for count in (1, 3, 5):
        backend.run([make_items(count, count)])
    assert seen == {(5, *SHAPE)}


def test_a_handler_whose_items_influence_each_other_cannot_be_deterministic() -> None:
    class Mean(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            return [np.full((1, 6), batch.mean(), np.float32)] * len(batch)

    loaded(config(), Mean({}))
    with pytest.raises(HandlerError, match="depend on the other items"):
        loaded(config(deterministic=True), Mean({}))


def test_a_handler_cannot_write_to_the_clients_memory() -> None:
    class Writes(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            batch[:] = 0
            return super().predict(batch)

    with pytest.raises(HandlerError, match="read-only"):
        loaded(config(), Writes({}))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda n: [np.zeros((1, 6))] * (n + 1), "2 results for 1 items"),
        (lambda n: [np.zeros((1, 5))] * n, r"shape \(1, 5\)"),
        (lambda n: [np.zeros(6)] * n, r"shape \(6,\)"),
        (lambda n: [np.zeros((9, 6))] * n, "9 rows for an item; its output_rows is 4"),
        (lambda n: ["boxes"] * n, "no array of rows"),
    ],
)
def test_a_broken_handler_is_found_before_anyone_is_served(rows: Any, said: str) -> None:
    class Broken(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            return list(rows(len(batch)))

    with pytest.raises(HandlerError, match=said):
        loaded(config(), Broken({}))


def test_no_rows_are_rows_too() -> None:
    class Empty(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            return [[]] * len(batch)

    (found,) = loaded(config(), Empty({})).run([make_items(1, 0)])
    assert found.shape == (0, 6)


def test_a_handler_that_raises_is_found_before_anyone_is_served() -> None:
    class Raises(Digest):
        def predict(self, batch: Any) -> Sequence[Any]:
            raise ValueError("no such layer")

    with pytest.raises(HandlerError, match="plain grey image: ValueError: no such layer"):
        loaded(config(), Raises({}))


def test_the_handler_is_told_what_it_may_need(tmp_path: Path) -> None:
    contexts: list[LoadContext] = []

    class Watched(Digest):
        def load(self, context: LoadContext) -> None:
            contexts.append(context)

    backend = choose_backend(Watched({}), config(precision="Float16", max_batch=3), 1)
    backend.load(ModelPaths(tmp_path / "m.cfg", {"weights": tmp_path / "m.weights"}))
    assert contexts == [
        LoadContext("cpu", "Float16", tmp_path / "m.cfg", 3, {"weights": tmp_path / "m.weights"})
    ]


def test_the_load_is_measured() -> None:
    report = choose_backend(Digest({}), config(max_batch=4), 1).load(ModelPaths())
    assert report.memory.weights == 4000
    assert report.max_batch == 4
    assert [items for items, _ in report.timings] == [1, 4]


def test_the_largest_batch_is_what_fits_the_simulated_memory() -> None:
    settings = config(backend="simulated", max_batch=16, simulated=SimulatedDevice(memory_items=5))
    backend = loaded(settings)
    assert backend.max_batch == 4
    with pytest.raises(OutOfMemory):
        backend.run([make_items(6, 0)])


def test_a_model_that_does_not_fit_at_all_says_so() -> None:
    settings = config(backend="simulated", simulated=SimulatedDevice(memory_items=0))
    with pytest.raises(ModelError, match="one item does not fit"):
        loaded(settings)


def test_simulated_batches_follow_each_other_on_the_devices_time_line() -> None:
    settings = config(
        backend="simulated", simulated=SimulatedDevice(base_ms=30, item_ms=5, depth=2)
    )
    backend = loaded(settings)
    items = make_items(4, 0)
    first = backend.launch(backend.stage([items]))
    second = backend.launch(backend.stage([items[:2]]))
    assert second.done_at - first.done_at == pytest.approx(0.040, abs=1e-6)
    assert same(backend.collect(first), expected(items))
    assert same(backend.collect(second), expected(items[:2]))


@pytest.mark.parametrize(
    ("named", "environment", "made"),
    [
        (None, None, NumpyBackend),
        (None, "simulated", SimulatedBackend),
        ("numpy", "simulated", NumpyBackend),
    ],
)
def test_configuration_then_environment_then_handler_choose_the_backend(
    named: Any, environment: str | None, made: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment:
        monkeypatch.setenv(VARIABLE, environment)
    assert type(choose_backend(Digest({}), config(backend=named), 1)) is made


def test_an_unknown_or_unfit_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "abacus")
    with pytest.raises(SpecError, match="abacus"):
        choose_backend(Digest({}), config(), 1)
    with pytest.raises(HandlerError, match="computes with numpy"):
        choose_backend(Digest({}), config(backend="torch"), 1)
