"""What is to be measured, in which order, and what of it is still missing. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

ARMS = {
    "a": "one model per task",
    "b": "one model per process, kept warm",
    "c": "gRPC server, float32, 5 ms window",
    "c+": "gRPC server, shared memory, uint8",
    "d": "Carpool",
    "e0": "loop, frames on the device",
    "e1": "loop, fed from main memory",
    "e2": "loop, with decoding",
}
IDEAS = {
    "shared_batches": "a batch holds one client's requests",
    "overlap": "nothing is staged while a batch runs",
    "uint8": "items are float32",
    "pinned_arenas": "items are copied into pinned memory first",
    "cuda_graphs": "operations are launched one by one",
}
"""What arm (d) may leave out, one at a time, and what it then does."""
COPIES = ("a", "b")
"""Arms with a copy of the model for each task."""
LOOPS = ("e0", "e1", "e2")
"""Arms without tasks: one process, its best batch."""
GIB = 1 << 30
CONTEXT_BYTES = GIB // 2
"""What a process takes of a GPU before its first tensor, in the budgets: rather less than it is,
which favours the arms with many processes."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One thing to measure.

    Attributes:
        network: name of the model.
        arm: one of `ARMS`.
        tasks: processes that ask; 1 for loops.
        chunk: items that a task asks for at once; 0 for loops, which choose their batch.
        budget_gib: memory of the device for all together; 0 for no bound.
        without: the idea that arm d leaves out, or "".
    """

    network: str
    arm: str
    tasks: int = 1
    chunk: int = 0
    budget_gib: float = 0
    without: str = ""

    @property
    def label(self) -> str:
        """For the terminal."""
        arm = f"{self.arm} without {self.without}" if self.without else self.arm
        budget = f", {self.budget_gib:g} GiB" if self.budget_gib else ""
        where = "" if self.arm in LOOPS else f", {self.tasks} tasks, chunk {self.chunk}"
        return f"{self.network}: {arm}{where}{budget}"

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def grid(
    network: str,
    *,
    arms: Iterable[str],
    tasks: Sequence[int],
    chunks: Sequence[int],
    budgets: Sequence[float],
) -> list[Cell]:
    """Every combination; loops have one cell each, whatever the tasks."""
    found = []
    for arm in arms:
        if arm in LOOPS:
            found.append(Cell(network, arm))
        else:
            found += [
                Cell(network, arm, count, chunk, budget)
                for budget, count, chunk in product(budgets, tasks, chunks)
            ]
    return found


def order(cells: Sequence[Cell], repeats: int, seed: int) -> list[tuple[Cell, int]]:
    """Each cell once before any twice, in an order that chance makes anew each time."""
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    return [
        (cell, repeat)
        for repeat in range(repeats)
        for cell in chance.sample(list(cells), len(cells))
    ]


def missing(
    planned: Sequence[tuple[Cell, int]], done: Collection[tuple[Cell, int]]
) -> list[tuple[Cell, int]]:
    """What of the plan was not measured yet."""
    return [each for each in planned if each not in done]


def share_bytes(cell: Cell) -> int | None:
    """What one process may take of the device for tensors; None for no bound.

    Args:
        cell: arms with copies share the budget among their tasks, the others have one process.

    Returns:
        The budget less every process's context, divided; it may be negative.
    """
    if not cell.budget_gib:
        return None
    processes = cell.tasks if cell.arm in COPIES else 1
    return int(cell.budget_gib * GIB) // processes - CONTEXT_BYTES


def fewer_did_not_fit(cell: Cell, unfit: Collection[Cell]) -> Cell | None:
    """A cell with as many tasks or fewer, and else the same, that was tried and did not fit."""
    for other in unfit:
        same = (other.network, other.arm, other.chunk, other.budget_gib, other.without) == (
            *(cell.network, cell.arm, cell.chunk, cell.budget_gib, cell.without),
        )
        if same and other.tasks <= cell.tasks:
            return other
    return None
