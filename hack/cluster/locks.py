"""Who waits for whom, between runs of this command on one machine; the kernel ends a dead one's."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from progress import say
from settings import CACHE


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Wait until no other run is at it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another run to end ({lock.name})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def used(name: str) -> Iterator[None]:
    """Say that something is used; several may say so."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def unused(name: str) -> Iterator[bool]:
    """Whether nobody uses it; if so, nobody begins to until the block ends."""
    with (CACHE / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
