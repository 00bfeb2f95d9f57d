"""The real clip and network beside the checkout; benchmarks of whole jobs need them."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.host.hosts import ROOT

DATA = ROOT.parent / "shared" / "data"


def real_file(name: str) -> Path:
    """A file of the data; ends the benchmark, with success, where it is absent."""
    path = DATA / name
    if not path.exists():
        print(f"skipped: {path} is absent", file=sys.stderr)
        sys.exit(0)
    return path
