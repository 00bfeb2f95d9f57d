"""A folder for what a run on this machine needs besides its output: sockets, logs, copies.

It lies in the system's temporary folder because its sockets' paths are limited to 107 bytes, and
goes with the run unless the run failed and someone wants its logs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class RunDirectory:
    """A run's folder.

    Attributes:
        path: where it is.
        keep: whether its logs stay when the run ends.
    """

    path: Path
    keep: bool = False

    def has_logs(self) -> bool:
        """Whether the run came as far as starting something that writes logs."""
        return any(self.path.glob("*.log"))


@contextmanager
def run_directory() -> Iterator[RunDirectory]:
    """Make a folder for a run and remove it at the end, all but the logs where they are kept."""
    directory = RunDirectory(Path(tempfile.mkdtemp(prefix="carpool-")))
    try:
        yield directory
    finally:
        for entry in directory.path.iterdir() if directory.keep else ():
            if entry.suffix != ".log":
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
        if not directory.keep:
            shutil.rmtree(directory.path, ignore_errors=True)
