"""Task processes: each sends chunk after chunk of its frames and writes down every answer.

They are forked, as PySpark's daemon forks its workers, from a process that has neither torch nor
gRPC nor a device. What must stay true: the clock starts when all are ready, and no frame is decoded
while it runs; each arm copies a frame once to where it needs it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol, Self

from benchmarks.sharing.figures import Answer, NothingAnswered
from benchmarks.sharing.frames import POOL
from carpool.host.backends.base import OutOfMemory
from carpool.host.process import die_with
from carpool.vision.handler import Rows

FORK = multiprocessing.get_context("fork")
PATIENCE = 300.0
"""Seconds in which a process must be ready, or answer."""


class DoesNotFit(Exception):
    """The budget does not hold what the cell needs; the message says what lacked."""


class ArmFailed(Exception):
    """A process of an arm raised, or ended; the message has its traceback."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames `first` to `first` + `items` of the pool, and when the task began with them."""

    first: int
    items: int
    begun: float


class Way(Protocol):
    """How a task gets answers."""

    def answers(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Rows]]]:
        """Rows of each frame of each chunk, in order; takes chunks as fast as it can use them."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the process holds: `loads` (models), `device_bytes`, `weights_bytes`."""
        ...


MakeWay = Callable[[], AbstractContextManager[Way]]


@dataclass(slots=True)
class Report:
    """What a task saw.

    Attributes:
        answers: of each chunk.
        rows: of frames of the pool by number, the first answer of each.
        facts: of its way.
        cpu_seconds: of the process, from its begin.
    """

    answers: list[Answer] = field(default_factory=list)
    rows: dict[int, Rows] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    cpu_seconds: float = 0.0


def chunks_until(end: float, size: int, number: int) -> Iterator[Chunk]:
    """Chunks until a moment, over and over the pool.

    Args:
        end: seconds, monotonic; no chunk begins later.
        size: items of a chunk; the pool is a multiple of it.
        number: of the task, which begins at another place of the pool than others.
    """
    first = number * size % POOL
    while (now := time.monotonic()) < end:
        yield Chunk(first, size, now)
        first = (first + size) % POOL


def chunks_of(items: int, size: int) -> Iterator[Chunk]:
    """Chunks of so many items; the last may be smaller."""
    for done in range(0, items, size):
        yield Chunk(done % POOL, min(size, items - done), time.monotonic())


def answer_all(way: Way, chunks: Iterator[Chunk]) -> Report:
    """Have chunks answered and write it down."""
    report = Report()
    for chunk, rows in way.answers(chunks):
        now = time.monotonic()
        report.answers.append(Answer(now, chunk.items, now - chunk.begun))
        assert len(rows) == chunk.items, "an arm lost items"
        for place, found in enumerate(rows):
            report.rows.setdefault(chunk.first + place, found)
    report.facts = way.facts()
    report.cpu_seconds = time.process_time()
    return report


class Process:
    """A forked process that speaks through a pipe; ended, by force if need be, with the block.

    Raises:
        RuntimeError: this process has torch, whose threads and contexts do not outlive a fork.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        if "torch" in sys.modules:
            raise RuntimeError("a process that has imported torch must not fork task processes")
        self.control, theirs = FORK.Pipe()
        self.process: BaseProcess = FORK.Process(
            target=_guarded,
            args=(target, theirs, self.control, os.getpid(), *arguments),
            daemon=True,
        )
        self.process.start()
        theirs.close()

    def receive(self) -> Any:
        """What it sends next.

        Raises:
            DoesNotFit: it ran out of memory.
            NothingAnswered: it measured for too short a time.
            ArmFailed: it raised, ended, or says nothing.
        """
        try:
            if not self.control.poll(PATIENCE):
                raise ArmFailed(f"process {self.process.pid} says nothing for {PATIENCE:g} s")
            kind, value = self.control.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise ArmFailed(f"a process ended with {self.process.exitcode}") from None
        if kind == "unfit":
            raise DoesNotFit(value)
        if kind == "nothing":
            raise NothingAnswered(value)
        if kind == "failed":
            raise ArmFailed(value)
        return value

    def send(self, value: Any) -> None:
        """Tell it something."""
        self.control.send(value)

    def join(self) -> None:
        """Wait for its end."""
        self.process.join(PATIENCE)

    def close(self) -> None:
        """End it."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _guarded(
    target: Callable[..., None], control: Connection, other: Connection, parent: int, *args: Any
) -> None:
    other.close()
    die_with(parent)
    try:
        target(control, *args)
    except OutOfMemory as error:
        control.send(("unfit", str(error).partition("\n")[0]))
    except NothingAnswered as error:
        control.send(("nothing", str(error)))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
        with suppress(OSError):
            control.send(("failed", traceback.format_exc()))


def task(control: Connection, make: MakeWay, number: int, chunk: int) -> None:
    """Main function of a task that is measured for a while."""
    with make() as way:
        control.send(("ready", None))
        begin, end = control.recv()
        time.sleep(max(0.0, begin - time.monotonic()))
        control.send(("report", answer_all(way, chunks_until(end, chunk, number))))


def life(control: Connection, make: MakeWay, items: int, chunk: int) -> None:
    """Main function of a task that lives for so many items."""
    with make() as way:
        report = answer_all(way, chunks_of(items, chunk))
    control.send(("report", report))


def reports(running: Sequence[Process], begin: float, end: float) -> list[Report]:
    """Start the clock of tasks that are ready, and wait for what they saw."""
    for process in running:
        process.send((begin, end))
    return [process.receive() for process in running]
