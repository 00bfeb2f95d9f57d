"""What the host's processes set up for themselves: limits, environment, dying with the parent.

Spark's Python workers hand down what is right for a worker and wrong for a host: OMP_NUM_THREADS
is `spark.task.cpus` (SPARK-28843), and `spark.executor.pyspark.memory` limits the address space
(`setup_memory_limits` in pyspark/worker_util.py), of which a device's driver needs a lot.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

from carpool.errors import HostStartFailed
from carpool.host.config import HostConfig

_PR_SET_PDEATHSIG = 1
_SPARK_PREFIXES = ("SPARK_", "PYSPARK_", "PYTHON_WORKER_FACTORY", "PYTHON_UNIX_DOMAIN")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TUNING = {
    # A thread of libgomp that waits for the others spins 300,000 times by default. Where tasks
    # decode on the same cores, it keeps the very core busy that it waits for: 30 small convolutions
    # beside two busy processes on 2 cores took 38 ms so, 18 ms with this, and on idle cores no more
    # than before (20 ms).
    "GOMP_SPINCOUNT": "5000",
    # glibc returns large feature maps to the kernel after each layer and gets them back as page
    # faults: a third of the CPU time at a batch of 8 (M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of
    # mallopt(3); 103,000 faults a batch became 8,000).
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
}
MOST_SOCKET_BYTES = 107
"""`sun_path` of unix(7) holds 108, one of them for its end."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG).

    Args:
        parent: its process id, to notice a parent that ended before this call.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
    if os.getppid() != parent:
        os._exit(0)


def host_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a host that a Spark worker starts: without what is Spark's business."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_SPARK_PREFIXES) and name not in _THREADS
    }


def child_environment(inherited: Mapping[str, str], config: HostConfig) -> dict[str, str]:
    """The environment of the process that computes: as many threads as it was given.

    What tunes the allocator and the threads is a default only: whoever has set it knows better.
    """
    environment = dict(inherited)
    environment |= dict.fromkeys(_THREADS, str(config.compute_threads))
    for name, value in _TUNING.items():
        environment.setdefault(name, value)
    if config.deterministic:
        # Without it CUDA's matrix products differ from run to run (cuBLAS, "Results
        # reproducibility").
        environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return environment


def lift_limits(device: str) -> str | None:
    """Raise the soft limits on address space and open files to the hard ones.

    Args:
        device: of the configuration.

    Returns:
        A warning for the log, if the address space stays limited.

    Raises:
        HostStartFailed: the address space stays limited, and the device cannot work with that.
    """
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return None
    text = (
        f"the address space of the host is limited to {hard >> 20} MiB, inherited from the process "
        "that started it (spark.executor.pyspark.memory does this)"
    )
    if device.startswith("cuda"):
        raise HostStartFailed(
            f"{text}; device {device} needs more: remove spark.executor.pyspark.memory, or run the "
            "host as a sidecar"
        )
    return text


def describe_end(status: int) -> str:
    """Say how a child ended, from its wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"killed by signal {number} ({signal.Signals(number).name})"
    return f"ended with code {os.waitstatus_to_exitcode(status)}"


def check_socket_path(path: Path) -> Path:
    """Refuse a path that a Unix socket cannot have.

    Raises:
        HostStartFailed: it is too long.
    """
    size = len(os.fsencode(path))
    if size > MOST_SOCKET_BYTES:
        raise HostStartFailed(
            f"the path of the host's socket has {size} bytes, Unix sockets allow "
            f"{MOST_SOCKET_BYTES}: choose a shorter folder than {path.parent}"
        )
    return path
