"""What the model of a local run computes on: this machine's GPU, where the job asks for one.

The driver imports no torch, so it looks at what NVIDIA's driver shows of itself. Whether PyTorch
can use it is seen by the host, which says so when it cannot.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from carpool.spec import InferenceJobSpec

_DEVICE_FILES = ("nvidia[0-9]*", "dxg")
"""Of NVIDIA's driver on Linux, and of Windows' in its Linux subsystem."""
_HIDDEN = ("", "-1", "NoDevFiles")


def local_device(
    spec: InferenceJobSpec,
    *,
    device_files: Path = Path("/dev"),
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The device of a local run's hosts.

    Args:
        spec: the job's.
        device_files: where the system keeps its device files.
        environment: whose CUDA_VISIBLE_DEVICES can hide every GPU.

    Returns:
        A torch device string: the first GPU that CUDA shows, or the CPU.
    """
    hidden = environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in _HIDDEN
    present = any(True for pattern in _DEVICE_FILES for _ in device_files.glob(pattern))
    return "cuda:0" if spec.device == "GPU" and present and not hidden else "cpu"
