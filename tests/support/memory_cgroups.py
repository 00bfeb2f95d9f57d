"""A memory cgroup for a test: version 1 or 2, whichever the machine has, where one can be made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")
_LIMITS = {
    # Without swap, or memory beyond the limit would go there.
    "memory.max": ("memory.max", "memory.swap.max"),
    "memory.limit_in_bytes": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
}


@dataclass(frozen=True)
class MemoryCgroup:
    """A limit for whoever is in it."""

    path: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that runs the rest of its arguments inside."""
        return ("sh", "-c", f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"', "sh")

    @property
    def peak_bytes(self) -> int:
        """The most that was charged to it."""
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            if (self.path / name).exists():
                return int((self.path / name).read_text())
        pytest.skip("the kernel does not tell a cgroup's peak (version 2 before Linux 5.19)")


@contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """Make one below our own, or as near as the hierarchy allows; skips where none can be made."""
    made = next(filter(None, map(_make, _parents())), None)
    if made is None:
        pytest.skip("no memory cgroup can be made here: needs root and a writable hierarchy")
    try:
        _limit(made, limit)
        yield MemoryCgroup(made)
    finally:
        made.rmdir()


def _parents() -> Iterator[Path]:
    """Our own cgroup and those above it, the version with a memory controller first."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            mount = _ROOT / "memory"
        elif not controllers:
            mount = _ROOT
        else:
            continue
        own = mount / path.lstrip("/")
        yield from (each for each in (own, *own.parents) if each.is_relative_to(mount))


def _make(parent: Path) -> Path | None:
    made = parent / f"carpool-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError:
        return None
    if any((made / name).exists() for name in _LIMITS):
        return made
    made.rmdir()  # the parent hands no memory controller down
    return None


def _limit(made: Path, limit: int) -> None:
    memory, swap = next(names for name, names in _LIMITS.items() if (made / name).exists())
    (made / memory).write_text(str(limit))
    if (made / swap).exists():
        (made / swap).write_text("0" if swap.endswith("swap.max") else str(limit))
