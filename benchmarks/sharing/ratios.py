"""What a record says about arm (d) beside the others. Pure.

What must stay true: an arm is compared at its own best, never at what suits (d).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.sharing.cells import COPIES, LOOPS

Row = dict[str, Any]
FEW_TASKS = 4
"""From so many tasks on, (d) is to be ahead."""


@dataclass(frozen=True, slots=True)
class Beside:
    """(d) and another arm in one cell.

    Attributes:
        mine: the row of (d).
        other: the other arm's row.
    """

    mine: Row
    other: Row

    @property
    def fits(self) -> bool:
        """Whether the budget holds the other arm."""
        return "unfit" not in self.other

    @property
    def ratio(self) -> float:
        """Items per second of (d) over the other's; medians."""
        return rate(self.mine) / rate(self.other)


def rate(row: Row) -> float:
    """Items per second, median."""
    return float(row["items_per_s"]["median"])


def rows_of(record: dict[str, Any], network: str, arm: str, without: str = "") -> list[Row]:
    """All cells of an arm that were measured or do not fit."""
    return [
        row
        for row in record["cells"]
        if (row["network"], row["arm"], row["without"]) == (network, arm, without)
        and "failed" not in row
    ]


def budgets(record: dict[str, Any], network: str) -> list[float]:
    """Budgets of a network's cells; 0 is none."""
    rows = [row for row in record["cells"] if row["network"] == network]
    return sorted({row["budget_gib"] for row in rows if row["arm"] not in LOOPS})


def best(rows: Sequence[Row]) -> Row | None:
    """The fastest of those that fit."""
    fitting = [row for row in rows if "items_per_s" in row]
    return max(fitting, key=rate, default=None)


def at(rows: Sequence[Row], tasks: int, chunk: int, budget: float) -> Row | None:
    """The row of a cell; of an arm with one copy perhaps with less memory, no better for it."""
    found = [
        row
        for row in rows
        if (row["tasks"], row["chunk"]) == (tasks, chunk)
        and (
            row["budget_gib"] == budget or (row["arm"] not in COPIES and row["budget_gib"] < budget)
        )
    ]
    return max(found, key=lambda row: row["budget_gib"], default=None)


def most_tasks(record: dict[str, Any], network: str, budget: float) -> Row | None:
    """(d) with the most tasks that were measured, at its best chunk."""
    rows = [row for row in rows_of(record, network, "d") if row["budget_gib"] <= budget]
    most = max((row["tasks"] for row in rows), default=0)
    return best([row for row in rows if row["tasks"] == most])


def over_best(record: dict[str, Any], network: str, arm: str, budget: float) -> Beside | None:
    """(d) with most tasks beside the best of another arm with the same budget."""
    mine = most_tasks(record, network, budget)
    other = best([row for row in rows_of(record, network, arm) if row["budget_gib"] == budget])
    return Beside(mine, other) if mine and other else None


def cell_by_cell(record: dict[str, Any], network: str, arm: str) -> Iterator[Beside]:
    """(d) beside another arm in every cell with `FEW_TASKS` or more."""
    mine = rows_of(record, network, "d")
    for other in rows_of(record, network, arm):
        if other["tasks"] < FEW_TASKS:
            continue
        row = at(mine, other["tasks"], other["chunk"], other["budget_gib"])
        if row is not None and "items_per_s" in row:
            yield Beside(row, other)


def of_roof(record: dict[str, Any], network: str) -> Beside | None:
    """(d) at its best with most tasks beside (e1)."""
    mine = most_tasks(record, network, float("inf"))
    other = best(rows_of(record, network, "e1"))
    return Beside(mine, other) if mine and other else None
