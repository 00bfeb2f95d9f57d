"""How NVIDIA's driver is asked about a GPU: by the program that comes with it."""

from __future__ import annotations

import shutil

from benchmarks.sharing.workloads import Target


def command(target: Target, query: str, *options: str) -> list[str] | None:
    """The command that prints what the query names, a line each; None where there is no GPU."""
    program = shutil.which("nvidia-smi") if target.kind == "cuda" else None
    if program is None:
        return None
    return [program, query, "--format=csv,noheader,nounits", *options]
