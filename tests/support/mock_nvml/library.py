"""Builds the mock of NVIDIA's library, once a run of the tests."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
NAME = "libnvidia-ml.so.1"


def build_library(folder: Path) -> Path:
    """Compile it; returns the folder for LD_LIBRARY_PATH.

    Raises:
        RuntimeError: the compiler refuses, in its words.
    """
    target = folder / NAME
    done = subprocess.run(
        [
            *("gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
            *("-pthread", f"-Wl,-soname,{NAME}", "-o", str(target), str(SOURCE)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"gcc refuses {SOURCE.name}:\n{done.stderr}")
    return folder


def load_library(folder: Path) -> None:
    """Load it into this process, where pynvml then finds it by its name."""
    ctypes.CDLL(str(folder / NAME))
