"""Memory of a GPU as its driver tells it: in use altogether, and by process where it says so."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from benchmarks.sharing.nvidia_smi import command
from benchmarks.sharing.workloads import Target


class DeviceMemory:
    """Looks at the first GPU of the machine; on other devices there is nothing to see."""

    def __init__(self, target: Target) -> None:
        self._target = target
        used = self._used()
        self._before = used if used is not None else 0

    def look(self, pids: Sequence[int]) -> dict[str, Any]:
        """What is in use now beyond what was at the begin, and by each of these processes.

        In a container the driver often names processes otherwise or not at all: then the second is
        missing.
        """
        used = self._used()
        if used is None:
            return {}
        found: dict[str, Any] = {"device_mib": used - self._before}
        lines = self._ask("--query-compute-apps=pid,used_memory") or []
        each = []
        for line in lines:
            pid, _, size = line.partition(",")
            with suppress(ValueError):
                if int(pid) in pids:
                    each.append(int(size))
        if each:
            found["device_mib_by_process"] = sorted(each)
        return found

    def _used(self) -> int | None:
        lines = self._ask("--query-gpu=memory.used")
        with suppress(ValueError, IndexError):
            return int(lines[0]) if lines else None
        return None

    def _ask(self, query: str) -> list[str] | None:
        asking = command(self._target, query)
        if asking is None:
            return None
        asked = subprocess.run(asking, capture_output=True, text=True, check=False)
        return asked.stdout.splitlines() if asked.returncode == 0 else None
