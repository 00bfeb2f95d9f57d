"""The model hosts of a local run: started with Spark, used by its tasks, ended with the driver.

There is one that all tasks share, or, to compare with, one for each task that runs at once
(`sharing: PerTask`). They are started here, so that models load while the JVM starts; were one to
end, the next task starts it again in the same way. They live exactly as long as the driver: each
holds on to a leash that the kernel lets go of when the driver ends, in whatever way it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from carpool.host.config import HostConfig, ModelFiles
from carpool.host.inquiry import ask_figures
from carpool.host.launch import CONFIG_NAME, SOCKET_NAME, Leash, ensure_host, wait_for_end
from carpool.spec import InferenceJobSpec, cpu_millis, quantity_bytes
from carpool.vision.model import ResolvedModel

END_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_CPU_REQUEST_ITEMS = 4
"""Most frames of a request on a CPU, which computes one or two at once: of a longer one the rest
would only wait, and take up memory of each task."""
_ARENAS_PART = 4
"""At most this part of `spec.host.memory` is what tasks share with the host."""


def host_directories(spec: InferenceJobSpec, directory: Path) -> tuple[Path, ...]:
    """Folders of the hosts of a run: the run's own where all tasks share one, else one a task."""
    if spec.sharing == "Shared":
        return (directory,)
    return tuple(directory / f"host-{number}" for number in range(spec.spark.executor.cores))


@contextmanager
def local_hosts(
    spec: InferenceJobSpec, model: ResolvedModel, directories: Sequence[Path], *, device: str
) -> Iterator[str]:
    """Configure and start the hosts and hold their leashes; give the key clients must name.

    Args:
        spec: the job's.
        model: what each host loads.
        directories: of the hosts; socket, log and leash of each lie there.
        device: a torch device string.
    """
    config = host_config(spec, model, len(directories), device=device)
    try:
        with ExitStack() as leashes:
            for directory in directories:
                directory.mkdir(exist_ok=True)
                config.write(directory / CONFIG_NAME)
                leashes.enter_context(Leash(directory))
                ensure_host(directory)
            yield config.model_key
    finally:
        for directory in directories:
            wait_for_end(directory, END_SECONDS)


def loaded_hosts(directories: Sequence[Path]) -> list[dict[str, Any]]:
    """Figures of the hosts that hold a copy of the model now, whether they had work or not."""
    answers = (ask_figures(each / SOCKET_NAME, timeout=_ANSWER_SECONDS) for each in directories)
    return [figures for figures in answers if figures and figures["loaded"]]


def host_config(
    spec: InferenceJobSpec, model: ResolvedModel, hosts: int = 1, *, device: str = "cpu"
) -> HostConfig:
    """What the hosts of a job are told, wherever they run.

    Args:
        spec: the job's.
        model: what each host loads.
        hosts: that share the resources of `spec.host`: of one executor.
        device: a torch device string.
    """
    config = HostConfig(
        handler=model.handler,
        parameters=model.parameters,
        model=ModelFiles(
            uri=None if model.path is None else str(model.path),
            sha256=model.digests.get("model"),
            files_sha256={role: model.digests[role] for role in model.files},
            files={role: str(path) for role, path in model.files.items()},
        ),
        device=device,
        precision=model.precision,
        max_batch=spec.batching.max_size or model.max_batch,
        deterministic=spec.batching.deterministic,
        threads=_threads(spec, hosts),
        expected_clients=max(1, spec.spark.executor.cores // hosts),
    )
    if device != "cpu":
        if spec.gpu is None or spec.gpu.memory is None:
            return replace(config, memory_fraction=_part_of_gpu(spec) / hosts)
        return replace(config, memory_bytes=quantity_bytes(spec.gpu.memory) // hosts)
    config = replace(config, request_items=_CPU_REQUEST_ITEMS)
    if spec.host.memory is None:
        return config
    # On a CPU the share of the device is the process's memory; the arenas are charged to it too.
    memory = quantity_bytes(spec.host.memory) // hosts
    arenas = min(config.arena_bytes, memory // _ARENAS_PART)
    return replace(config, memory_bytes=memory - arenas, arena_bytes=arenas)


def _part_of_gpu(spec: InferenceJobSpec) -> float:
    """Of a GPU whose size nobody here knows: what `gpu.memory` says that its absence means."""
    return 1 / (spec.gpu.executors_per_gpu if spec.gpu is not None else 1)


def _threads(spec: InferenceJobSpec, hosts: int) -> int:
    """Compute threads of each host, so that all together have what one would have; 0: its default.

    Where results must not depend on the machine, one thread is the default and no share of it.
    """
    if spec.host.cpu is None:
        if hosts == 1 or spec.batching.deterministic:
            return 0
        return max(1, len(os.sched_getaffinity(0)) // hosts)
    return max(1, cpu_millis(spec.host.cpu) // 1000 // hosts)
