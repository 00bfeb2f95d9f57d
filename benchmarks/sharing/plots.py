"""Draws each record of sharing beside its JSON file; shows nothing that the file does not hold.

Run from the repository's root: python -m benchmarks.sharing.plots
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # a file is all that is wanted

import matplotlib.pyplot as plt

from benchmarks.host.plots import BLUE, DARK, GREEN, GREY, LIGHT_BLUE, ORANGE, STYLE
from benchmarks.sharing.ratios import Row, at, best, budgets, rate, rows_of
from benchmarks.sharing.record import NAMES, RESULTS, read

COLOURS = {"a": GREY, "b": DARK, "c": ORANGE, "c+": GREEN, "d": BLUE}
_WIDTH = 0.16


def draw(record: dict[str, Any]) -> plt.Figure:
    """A line for each network: items per second by tasks, a panel for each budget and chunk."""
    networks = list(record["networks"])
    panels = {name: _panels(record, name) for name in networks}
    columns = max(len(each) for each in panels.values())
    figure, grid = plt.subplots(
        len(networks), columns, figsize=(3.6 * columns + 1.5, 3.3 * len(networks)), squeeze=False
    )
    for line, name in zip(grid, networks, strict=True):
        for axes, (budget, chunk) in zip(line, panels[name], strict=False):
            _panel(axes, record, name, budget, chunk)
        for axes in line[len(panels[name]) :]:
            axes.set_visible(False)
        line[0].set_ylabel(f"{name}: items per second")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.28 / figure.get_figheight() * 1.4))
    return figure


def _panels(record: dict[str, Any], network: str) -> list[tuple[float, int]]:
    rows = [row for row in record["cells"] if row["network"] == network and row["chunk"]]
    chunks = sorted({row["chunk"] for row in rows})
    return [(budget, chunk) for budget in budgets(record, network) for chunk in chunks]


def _panel(axes: plt.Axes, record: dict[str, Any], network: str, budget: float, chunk: int) -> None:
    rows = [row for row in record["cells"] if row["network"] == network and row["chunk"]]
    tasks = sorted({row["tasks"] for row in rows})
    for place, (arm, colour) in enumerate(COLOURS.items()):
        label = f"({arm})"
        for number, count in enumerate(tasks):
            where = number + _WIDTH * (place - 2)
            row = at(rows_of(record, network, arm), count, chunk, budget)
            if row is None:
                continue
            _bar(axes, where, row, colour, label)
            label = None  # type: ignore[assignment]  # once is enough
    _roof(axes, record, network)
    axes.set_xticks(range(len(tasks)), [str(count) for count in tasks])
    axes.set_xlim(-0.6, len(tasks) - 0.4)
    axes.set_xlabel("tasks")
    bound = f"{budget:g} GiB, " if budget else ""
    axes.set_title(f"{bound}chunk {chunk}")


def _bar(axes: plt.Axes, where: float, row: Row, colour: str, label: str | None) -> None:
    if "unfit" in row:
        axes.text(where, 0, "x", color=colour, ha="center", va="bottom", fontsize=11)
        return
    found = row["items_per_s"]
    axes.bar(where, found["median"], 0.9 * _WIDTH, color=colour, label=label)
    axes.plot([where, where], [found["q1"], found["q3"]], color="black", lw=1)


def _roof(axes: plt.Axes, record: dict[str, Any], network: str) -> None:
    """The loop that feeds the device from main memory."""
    roof = best(rows_of(record, network, "e1"))
    if roof is not None:
        axes.axhline(rate(roof), color=LIGHT_BLUE, ls="--", lw=1.5, label="(e1)")


def main() -> None:
    for name in NAMES:
        if (record := read(name)) is None:
            continue
        with mpl.rc_context(STYLE):
            figure = draw(record)
            # Without the date that matplotlib writes, equal records give equal files.
            figure.savefig(RESULTS / f"{name}.png", metadata={"Software": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
