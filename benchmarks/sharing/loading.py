"""Loads a model into this process, on whatever device a cell is measured on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sharing.engines import Engine
from benchmarks.sharing.simulated_engine import SimulatedEngine
from benchmarks.sharing.time_line import TimeLine
from benchmarks.sharing.torch_engine import TorchEngine
from benchmarks.sharing.workloads import Target, Workload
from carpool.host.backends.base import OutOfMemory


def load_engine(
    workload: Workload,
    target: Target,
    *,
    share: int | None,
    batch: int,
    threads: int,
    device_file: Path,
    shapes_repeat: bool = True,
) -> Engine:
    """Load a model.

    Args:
        workload: the model.
        target: the device.
        share: bytes of the device that this process may have; None for no bound.
        batch: the largest batch that it will be given.
        threads: that compute on a CPU.
        device_file: of the simulated device, one for all processes of a run.
        shapes_repeat: whether batches have few sizes, so that trying algorithms out pays.

    Raises:
        OutOfMemory: the share does not hold the model.
    """
    if share is not None and share <= 0:
        raise OutOfMemory("the budget does not even hold the processes' contexts")
    if target.kind == "simulated":
        return SimulatedEngine(workload, TimeLine(device_file), share, batch)
    return TorchEngine(workload, target, share, batch, threads, shapes_repeat=shapes_repeat)
