"""The model host of a local run: started with Spark, shared by all tasks, ended with the driver.

It is started here, so that the model loads while the JVM starts; were it to end, the next task
starts it again in the same way. It lives exactly as long as the driver: it holds on to a leash that
the kernel lets go of when the driver ends, in whatever way it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carpool.host.config import HostConfig, ModelFiles
from carpool.host.launch import Leash, ensure_host, wait_for_end
from carpool.spec import InferenceJobSpec, cpu_millis
from carpool.vision.model import ResolvedModel

END_SECONDS = 10.0


@contextmanager
def local_host(
    spec: InferenceJobSpec, model: ResolvedModel, directory: Path, *, clients: int
) -> Iterator[str]:
    """Write the host's configuration and hold its leash; give the key clients must name.

    Args:
        spec: the job's.
        model: what the host loads.
        directory: the run's; the host's socket, log and leash lie there.
        clients: tasks that will share the host.
    """
    config = HostConfig(
        handler=model.handler,
        parameters=model.parameters,
        model=ModelFiles(
            uri=None if model.path is None else str(model.path),
            files={role: str(path) for role, path in model.files.items()},
        ),
        device="cpu",
        precision=model.precision,
        max_batch=spec.batching.max_size,
        deterministic=spec.batching.deterministic,
        threads=0 if spec.host.cpu is None else max(1, cpu_millis(spec.host.cpu) // 1000),
        expected_clients=clients,
    )
    config.write(directory / "host.json")
    try:
        with Leash(directory):
            ensure_host(directory)
            yield config.model_key
    finally:
        wait_for_end(directory, END_SECONDS)
