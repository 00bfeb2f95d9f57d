"""The models of benchmarks/sharing keep the contract that lets arms be compared."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sharing import bench_gpu, frames
from benchmarks.sharing.handlers import HeavyModel, SimulatedModel
from benchmarks.sharing.workloads import heavy, light, yolov3
from carpool.vision.handler import LoadContext, handler_class

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def pool():
    return frames.pool((32, 32, 3))


def load(reference, parameters, workload):
    handler = handler_class(reference)(parameters)
    handler.load(LoadContext("cpu", "Auto", workload.model, 8, workload.files))
    return handler


def test_frames_differ_and_are_the_same_each_time(pool):
    assert len({frame.tobytes() for frame in pool}) == len(pool) == frames.POOL
    assert np.array_equal(pool, frames.pool((32, 32, 3)))


def test_a_network_fed_with_float32_finds_what_it_finds_with_uint8(tmp_path):
    import torch

    workload = light(tmp_path, 192, filters=8)
    plain = load(workload.handler, workload.parameters, workload)
    floats = load(workload.float_handler, workload.parameters, workload)
    batch = frames.pool(workload.shape)[:4]
    bytes_of_floats = batch.astype(np.float32).view(np.uint8)
    assert bytes_of_floats.shape[1:] == floats.input_shape
    expected = plain.predict(torch.from_numpy(batch))
    found = floats.predict(torch.from_numpy(bytes_of_floats))
    assert sum(map(len, expected)) > 0
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    fixed = floats.predict_fixed(torch.from_numpy(bytes_of_floats))
    assert fixed is not None
    assert fixed.counts.tolist() == list(map(len, expected))


@pytest.mark.slow
def test_what_yolov3_finds_on_a_gpu_can_be_told_ahead():
    """On the frames with the most boxes: what cannot be told ahead is computed twice."""
    import torch

    with tempfile.TemporaryDirectory() as folder:  # a quarter of a gigabyte, for no longer than now
        workload = yolov3(Path(folder), bench_gpu.SIZE, bench_gpu.SCORE)
        model = load(workload.handler, workload.parameters, workload)
    batch = torch.from_numpy(frames.pool(workload.shape)[[47, 2]])
    with torch.inference_mode():
        found = model.predict_fixed(batch)
    assert min(found.counts.tolist()) > 20


def test_the_heavy_model_tells_frames_apart_whatever_batch_they_are_in(pool):
    import torch

    workload = heavy(32, 64, 3, 4)
    model = load(workload.handler, workload.parameters, workload)
    assert isinstance(model, HeavyModel)
    together = model.predict(torch.from_numpy(pool[:8]))
    alone = [model.predict(torch.from_numpy(frame[None]))[0] for frame in pool[:8]]
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(together, alone, strict=True))
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    fixed = model.predict_fixed(torch.from_numpy(pool[:8]))
    assert fixed.counts.tolist() == [3] * 8
    assert torch.equal(fixed.rows, torch.stack(list(together)))


def test_two_processes_load_the_same_heavy_model(pool):
    import torch

    workload = heavy(32, 64, 3, 4)
    first, second = (load(workload.handler, workload.parameters, workload) for _ in range(2))
    batch = torch.from_numpy(pool[:2])
    assert torch.equal(torch.stack(first.predict(batch)), torch.stack(second.predict(batch)))


def test_the_simulated_model_tells_frames_apart(pool):
    model = SimulatedModel({"shape": [32, 32, 3], "load_seconds": 0})
    rows = model.predict(pool[:8])
    assert [each.shape for each in rows] == [(3, 6)] * 8
    assert len({each.tobytes() for each in rows}) == 8
