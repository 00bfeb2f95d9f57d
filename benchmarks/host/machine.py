"""What was measured on: the facts without which a figure means nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "torch", "grpcio", "opencv-python-headless", "pyspark")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel, versions, and how busy the machine was at the start."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Of the packages that are there: not every benchmark needs all."""
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _first(path: str, name: str) -> str:
    """The value of the first line "name : value" of one of the kernel's tables."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0" if path == "/proc/meminfo" else platform.processor()
