"""What the tasks of a cell ask, and how: own models, Carpool's host, a gRPC server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.host.hosts import serving
from benchmarks.sharing.arms.carpool_host import carpool_client
from benchmarks.sharing.arms.grpc_clients import grpc_client
from benchmarks.sharing.arms.grpc_server import serve
from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.arms.own_model import own_model
from benchmarks.sharing.cells import COPIES, GIB, Cell, share_bytes
from benchmarks.sharing.engines import Engine
from benchmarks.sharing.handlers import FLOAT_BYTES
from benchmarks.sharing.loading import load_engine
from benchmarks.sharing.tasks import ArmFailed, MakeWay, Process, Report
from benchmarks.sharing.workloads import Target, Workload
from carpool.host.config import ModelFiles
from carpool.host.inquiry import ask_figures

Pool = NDArray[np.uint8]
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all cells of a run.

    Attributes:
        target: the device.
        seconds: measured in a run of a cell, of which the first and last tenth do not count.
        task_items: of a task in arm (a).
        largest: most items of a batch of servers and loops.
        manners: that loops try.
        trial_seconds: for each of these.
        host_options: further fields of the host's configuration.
        clip: what e2 decodes.
    """

    target: Target
    seconds: float
    task_items: int
    largest: int
    manners: Sequence[Manner]
    trial_seconds: float
    host_options: Mapping[str, Any]
    clip: Path | None = None


@dataclass(slots=True)
class Asked:
    """How the tasks of a cell ask, and what is known of the arm after they did."""

    make: MakeWay
    figures: Callable[[Sequence[Report]], dict[str, Any]]


@contextmanager
def ways(
    cell: Cell, workload: Workload, settings: Settings, pool: Pool, folder: Path
) -> Iterator[Asked]:
    if cell.arm in COPIES:
        yield Asked(model_of_its_own(cell, workload, settings, pool, folder), partial(copies, cell))
    elif cell.arm == "d":
        with _carpool(cell, workload, settings, pool) as made:
            yield made
    else:
        with _grpc(cell, workload, settings, pool, folder) as made:
            yield made


def load_model(
    workload: Workload,
    settings: Settings,
    folder: Path,
    *,
    share: int | None,
    batch: int,
    threads: int,
    shapes_repeat: bool = True,
) -> Engine:
    return load_engine(
        workload,
        settings.target,
        share=share,
        batch=batch,
        threads=threads,
        device_file=folder / "device",
        shapes_repeat=shapes_repeat,
    )


def model_of_its_own(
    cell: Cell,
    workload: Workload,
    settings: Settings,
    pool: Pool,
    folder: Path,
    *,
    shapes_repeat: bool = True,
) -> MakeWay:
    # On a CPU each task has its share of the cores, at least one, as spark.task.cpus gives it.
    threads = max(1, settings.target.cores // cell.tasks)
    load = partial(
        load_model,
        workload,
        settings,
        folder,
        share=share_bytes(cell),
        batch=cell.chunk,
        threads=threads,
        shapes_repeat=shapes_repeat,
    )
    return partial(own_model, load, pool, cell.chunk, warm_up=0 if cell.arm == "a" else _WARM_UP)


def copies(cell: Cell, found: Sequence[Report]) -> dict[str, Any]:
    facts = [report.facts for report in found]
    each = [fact["device_bytes"] for fact in facts if fact["device_bytes"] is not None]
    return {
        "copies": sum(fact["loads"] for fact in facts),
        "weights_bytes": facts[0]["weights_bytes"],
        "process_device_bytes": max(each) if each else None,
        "mean_batch": cell.chunk,
    }


@contextmanager
def _carpool(cell: Cell, workload: Workload, settings: Settings, pool: Pool) -> Iterator[Asked]:
    simulated = settings.target.kind == "simulated"
    floats = cell.without == "uint8"
    shape, frames = workload.shape, pool
    if floats:
        # The four bytes of each float32 value: what a client sends that normalises by itself.
        frames = pool.astype(np.float32).view(np.uint8)
        shape = (*shape[:2], FLOAT_BYTES * shape[2])
    options = dict(settings.host_options)
    if simulated:
        options |= {"backend": "simulated", "simulated": replace(workload.simulated)}
    if cell.without and not floats:
        options["without"] = (cell.without,)
    handler = workload.float_handler if floats else workload.handler
    assert handler is not None, f"{workload.name} has no handler of float32 items"
    with serving(
        handler,
        shape,
        parameters=workload.parameters,
        model=ModelFiles(
            uri=str(workload.model) if workload.model else None,
            files={role: str(path) for role, path in workload.files.items()},
        ),
        device=settings.target.device,
        memory_bytes=_host_bytes(cell, settings),
        expected_clients=cell.tasks,
        request_items=min(cell.chunk, 16),
        **options,
    ) as host:

        def figures(found: Sequence[Report]) -> dict[str, Any]:
            asked = ask_figures(host.socket, 5.0)
            if asked is None:
                raise ArmFailed("the host does not tell its figures")
            models = {report.facts["model"] for report in found}
            batches = max(1, asked["batches"])
            return {
                "copies": len(models),
                "weights_bytes": found[0].facts["weights_bytes"],
                "device": found[0].facts["device"],
                "load_s": found[0].facts["load_seconds"] + found[0].facts["warm_up_seconds"],
                "mean_batch": round(asked["batch_items"] / batches, 3),
                "batch_sizes": asked["batch_sizes"],
                "phases_ms": asked["phases_ms"],
            }

        yield Asked(partial(carpool_client, host, frames), figures)


@contextmanager
def _grpc(
    cell: Cell, workload: Workload, settings: Settings, pool: Pool, folder: Path
) -> Iterator[Asked]:
    floats, target = cell.arm == "c", settings.target
    largest = max(settings.largest, cell.chunk)
    # (c+) has two threads that compute: with a device, one gathers while the other waits. On a CPU
    # a model that may be used by several threads has a core for each, as Carpool's host does it.
    workers, threads = (1 if floats else 2), target.cores
    if target.kind == "cpu" and not floats:
        reentrant = workload.model is not None
        workers, threads = (target.cores, 1) if reentrant else (1, target.cores)
    load = partial(
        load_model,
        workload,
        settings,
        folder,
        share=share_bytes(cell),
        batch=largest,
        threads=threads,
        shapes_repeat=not floats,
    )
    address = folder / "grpc.sock"
    with Process(
        partial(
            serve,
            shape=workload.shape,
            largest=largest,
            clients=cell.tasks,
            chunk=cell.chunk,
            floats=floats,
            workers=workers,
        ),
        address,
        load,
    ) as server:
        server.receive()

        def figures(found: Sequence[Report]) -> dict[str, Any]:  # noqa: ARG001 - the server knows
            server.send("end")
            asked = server.receive()
            return {
                "copies": asked["loads"],
                "weights_bytes": asked["weights_bytes"],
                "process_device_bytes": asked["device_bytes"],
                "mean_batch": asked["mean_batch"],
            }

        yield Asked(partial(grpc_client, address, pool, cell.chunk, floats=floats), figures)


def _host_bytes(cell: Cell, settings: Settings) -> int | None:
    """The host's share of the device; on CUDA it counts its context itself."""
    if settings.target.kind == "cuda":
        return int(cell.budget_gib * GIB) or None
    return share_bytes(cell)
