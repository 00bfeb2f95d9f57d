"""Refuse what would break the layout of the tree.

`operator/` and `job/` are folders of distributions. An `__init__.py` or an `operator.py` in them
would shadow the standard library's `operator` for every Python started there, and `collections`
imports it: the interpreter could not start. A fresh interpreter in each folder proves that it does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("job", "operator")
EMPTY_NAMES = {
    f"{name}.py" for name in ("utils", "util", "helpers", "helper", "manager", "common", "misc")
}


def problems() -> list[str]:
    """Everything wrong with the tree, one sentence each."""
    found: list[str] = []
    for folder in DISTRIBUTIONS:
        found += [
            f"{path.relative_to(ROOT)}: a distribution folder holds no Python file of its own"
            for path in (ROOT / folder).glob("*.py")
        ]
        # -S: no .pth file of the environment imports `operator` before the folder can shadow it.
        clean = subprocess.run(
            [sys.executable, "-S", "-c", "import collections"],
            cwd=ROOT / folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if clean.returncode != 0:
            found.append(f"{folder}/: Python does not start there: {clean.stderr.strip()[-200:]}")
    for source in ("job/src", "operator/src", "tests", "benchmarks", "hack"):
        found += [
            f"{path.relative_to(ROOT)}: a name that says nothing; name the idea it holds"
            for path in (ROOT / source).rglob("*.py")
            if path.name in EMPTY_NAMES
        ]
    return found


if __name__ == "__main__":
    complaints = problems()
    for complaint in complaints:
        print(complaint)  # noqa: T201 - a check speaks on the terminal
    sys.exit(bool(complaints))
