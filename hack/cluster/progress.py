"""Lines that tell what happens and how long it took; commands that speak only when they fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_BEGUN = time.monotonic()


class Failed(SystemExit):
    """The command cannot go on; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(f"cluster: {message}")


class Unsupported(Failed):
    """This machine can have no cluster as it is; the message says why."""


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _BEGUN:5.0f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what is being done, and at its end how long it took."""
    say(f"{text} …")
    begun = time.monotonic()
    yield
    say(f"{text}: {time.monotonic() - begun:.0f} s")


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str | bytes | None = None,
) -> str:
    """Run a command and give its standard output.

    Raises:
        Failed: it failed; the message holds the end of what it printed.
    """
    done = attempt(*command, cwd=cwd, environment=environment, given=given)
    if done.returncode != 0:
        said = (done.stdout[-2000:] + done.stderr[-4000:]).decode(errors="replace").strip()
        raise Failed(f"`{_shown(command)}` failed ({done.returncode}):\n{said}")
    return done.stdout.decode(errors="replace").strip()


def attempt(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str | bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that may fail."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=given.encode() if isinstance(given, str) else given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _shown(command: Sequence[str | Path]) -> str:
    text = " ".join(map(str, command))
    return text if len(text) < 300 else f"{text[:300]} …"
