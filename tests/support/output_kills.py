"""Kills a writer of an output folder at each of its steps, by SIGKILL, one process a step.

Run as a program, with no threads of its own, so that forking is safe: for step 1, 2, … a child gets
a copy of the starting folder, does the work, and at its step sends itself SIGKILL: nothing runs
after that, no `finally`, no flush. The program prints where each child died, as JSON, and leaves
the folders for the test to look at.

Steps are, in the order in which they happen: just before each change of the local file system that
Python makes in the folder (`mkdir`, `open`, `rename`: audit events), just before each deletion, and
halfway through the deletion of a folder (pyarrow deletes, which no audit sees).
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.ma  # noqa: F401 - `numpy.unique` would import it in every child

from carpool.outputs import folder as folder_module
from carpool.outputs.folder import OutputFolder
from support.output_runs import LOCAL, Job, run

_AUDITED = {"os.mkdir", "open", "os.rename"}
_MOST_STEPS = 1000


class _Steps:
    """Counts steps and ends the process at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.passed = 0

    def step(self, name: str) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            sys.stderr.write(name)
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _watch(steps: _Steps, root: str) -> None:
    # Deletions in one order, so that a step is the same in every run.
    setattr(folder_module, "_THREADS", 1)  # noqa: B010 - the name is final for everyone else

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _AUDITED or not str(arguments[0]).startswith(root):
            return
        if event != "os.mkdir" or not Path(arguments[0]).exists():
            steps.step(f"{event} {arguments[0]}")

    def before(name: str, method: Callable[..., None]) -> Callable[..., None]:
        def wrapped(self: OutputFolder, relative: str) -> None:
            path = Path(root) / relative
            if path.exists():
                steps.step(f"{name} {path}")
            if path.is_dir():
                _halfway(steps, path)
            method(self, relative)

        return wrapped

    for name in ("delete", "delete_tree"):
        setattr(OutputFolder, name, before(name, getattr(OutputFolder, name)))
    sys.addaudithook(audit)


def _halfway(steps: _Steps, tree: Path) -> None:
    files = sorted(tree.glob("*"))
    for file in files[: len(files) // 2]:
        file.unlink()
    steps.step(f"halfway {tree}")


def _child(root: Path, job: Job, fatal: int) -> None:
    steps = _Steps(fatal)
    folder = OutputFolder(str(root), LOCAL)
    _watch(steps, str(root))
    run(folder, job)


def main(start: Path, place: Path, job_file: Path) -> None:
    job = pickle.loads(job_file.read_bytes())  # noqa: S301 - written by the test that runs this
    deaths = []
    for fatal in range(1, _MOST_STEPS):
        root = place / f"{fatal:03}"
        shutil.copytree(start, root)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writer, 2)
            status = 1
            try:
                _child(root, job, fatal)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            where = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            # It got through: there are no more steps. Anything else is a fault of its own.
            if os.WEXITSTATUS(status) or where:
                sys.exit(f"step {fatal}: {where or status}")
            break
        deaths.append({"root": str(root), "where": where, "signal": os.WTERMSIG(status)})
    sys.stdout.write(json.dumps(deaths))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
