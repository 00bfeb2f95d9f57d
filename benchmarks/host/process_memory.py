"""Memory of any process of this user, with shared pages shared out."""

from __future__ import annotations

from pathlib import Path


def pss_mib(pid: int) -> float:
    """Memory of a process in MiB; a page that k processes share counts 1/k (proc(5), Pss)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
