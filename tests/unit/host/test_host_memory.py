"""How large a batch may be, from what a model was measured to take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import ModelError
from carpool.host.arena import ArenaLayout, SlotFormat, create_arena
from carpool.host.backends.choose import choose_backend
from carpool.host.backends.handler_backend import HandlerBackend
from carpool.host.config import HostConfig, SimulatedDevice
from carpool.host.memory import MemoryUse, ProcessMemory, per_item_bytes
from carpool.host.model_files import ModelPaths
from carpool.vision.handler import LoadContext
from support.host_handlers import Digest
from support.host_process import TESTS, config

MIB = 1 << 20
DEVICE = SimulatedDevice(weights_bytes=100 * MIB, item_bytes=10 * MIB)


def loaded(settings: HostConfig, handler: Digest | None = None) -> HandlerBackend:
    backend = choose_backend(handler or Digest({}), settings, 1)
    backend.load(ModelPaths())
    return backend


def simulated(**fields: Any) -> HostConfig:
    return config(backend="simulated", **({"simulated": DEVICE, "max_batch": 64} | fields))


@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 10**7), st.integers(1, 10**4))
def test_the_largest_batch_is_within_the_budget_and_one_more_is_not(
    one: int, per_item: int, budget: int, most: int
) -> None:
    use = MemoryUse(one=one, per_item=per_item, budget=budget)
    found = use.largest_batch(most)
    assert 0 <= found <= most
    if found:
        assert use.peak(found) <= budget
    if found < most:
        assert use.peak(found + 1) > budget


def test_without_a_budget_nothing_is_bounded() -> None:
    assert MemoryUse(one=1 << 40, per_item=1 << 40).largest_batch(64) == 64


def test_what_an_item_adds_is_never_negative() -> None:
    assert per_item_bytes(100, 400, 3) == 100
    assert per_item_bytes(400, 100, 3) == 0


def test_the_largest_batch_follows_from_weights_items_and_budget() -> None:
    backend = loaded(simulated(memory_bytes=375 * MIB))
    assert backend.max_batch == 27
    report = choose_backend(Digest({}), simulated(memory_bytes=375 * MIB), 1).load(ModelPaths())
    assert report.memory == MemoryUse(
        weights=100 * MIB,
        idle=100 * MIB,
        one=110 * MIB,
        per_item=10 * MIB,
        budget=375 * MIB,
    )


def test_a_batch_that_is_asked_for_is_kept_where_it_fits() -> None:
    assert loaded(simulated(memory_bytes=375 * MIB, max_batch=20)).max_batch == 20
    assert loaded(simulated()).max_batch == 64


def test_the_sizes_that_batches_are_padded_to_stay_within_the_budget() -> None:
    backend = loaded(simulated(memory_bytes=375 * MIB, batch_sizes=(1, 8, 16, 32, 64)))
    assert backend.max_batch == 16
    assert backend.shapes.sizes == (1, 8, 16)


@pytest.mark.parametrize("budget", [50 * MIB, 105 * MIB])
def test_a_model_that_does_not_fit_the_share_with_one_item_is_refused(budget: int) -> None:
    with pytest.raises(ModelError, match=r"one item|batch of 1 needs"):
        loaded(simulated(memory_bytes=budget))


def test_a_deterministic_batch_is_refused_rather_than_made_smaller() -> None:
    loaded(simulated(memory_bytes=375 * MIB, deterministic=True, max_batch=27))
    with pytest.raises(ModelError):
        loaded(simulated(memory_bytes=375 * MIB, deterministic=True, max_batch=28))


class Hungry(Digest):
    """Holds `held` bytes once loaded, and takes `item` bytes more for each item of a batch."""

    held = 64 * MIB
    item = 16 * MIB

    def load(self, context: LoadContext) -> None:
        super().load(context)
        self.weights = np.ones(self.held, np.uint8)

    def predict(self, batch: Any) -> Sequence[Any]:
        np.ones((len(batch), self.item), np.uint8)
        return super().predict(batch)


MEASURED = """
import json
from dataclasses import asdict
from carpool.host.backends.choose import choose_backend
from carpool.host.memory import ProcessMemory
from carpool.host.model_files import ModelPaths
from support.host_process import TESTS, config
from unit.host.test_host_memory import Hungry

backend = choose_backend(Hungry({}), config(max_batch=8), 1)
ProcessMemory.begin_peak()
before = ProcessMemory.peak_bytes()
print(json.dumps(asdict(backend.load(ModelPaths()).memory) | {"before": before}))
"""


def test_what_a_handler_takes_of_its_process_is_measured() -> None:
    """In a process of its own: one that has tested for a while has free memory to give."""
    said = subprocess.run(
        [sys.executable, "-c", MEASURED],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])},
        capture_output=True,
        check=True,
    )
    found = json.loads(said.stdout)
    before = found.pop("before")
    use = MemoryUse(**found)
    assert use.weights == pytest.approx(Hungry.held, rel=0.01)
    assert use.idle - before == pytest.approx(Hungry.held, rel=0.1)
    # The allocator may keep a block that it has back: an item's worth of seven at the most.
    assert Hungry.item * 0.99 <= use.per_item <= Hungry.item * 1.2
    assert use.peak(8) - use.idle == pytest.approx(8 * Hungry.item, rel=0.2)


def test_memory_shared_with_clients_is_not_the_models() -> None:
    form = SlotFormat((64, MIB), 1, 1)
    arena, descriptor = create_arena(ArenaLayout(form, slots=1, items=1))
    ProcessMemory.begin_peak()
    before = ProcessMemory.peak_bytes()
    arena.items[:] = 1
    os.close(descriptor)
    assert ProcessMemory.peak_bytes() - before < 16 * MIB
