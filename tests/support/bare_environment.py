"""Programs on a machine that only computes: PyTorch is there, Spark and pydantic are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ABSENT = (
    *("pyspark", "pydantic", "pandas", "yaml", "scipy", "rich", "prometheus_client"),
    *("kopf", "kubernetes", "moto", "trackers"),
)


def bare_environment(folder: Path) -> dict[str, str]:
    """Variables with which importing what such a machine lacks fails, in child processes too.

    Args:
        folder: an empty one, for the module that makes it fail.
    """
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {_ABSENT!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    places = [folder, ROOT / "job" / "src", ROOT / "tests"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}


def output(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints that is run from the root, and succeeds."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
