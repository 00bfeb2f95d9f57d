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
    """Items per second by tasks: a line of panels for each network and budget, a panel a chunk."""
    lines = [
        (network, budget) for network in record["networks"] for budget in budgets(record, network)
    ]
    chunks = {network: _chunks(record, network) for network in record["networks"]}
    columns = max(len(each) for each in chunks.values())
    figure, grid = plt.subplots(
        len(lines), columns, figsize=(4.2 * columns + 1.8, 2.9 * len(lines) + 0.4), squeeze=False
    )
    for panels, (network, budget) in zip(grid, lines, strict=True):
        for axes, chunk in zip(panels, chunks[network], strict=False):
            _panel(axes, record, network, budget, chunk)
        for axes in panels[len(chunks[network]) :]:
            axes.set_visible(False)
        panels[0].set_ylabel("items per second")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    return figure


def _chunks(record: dict[str, Any], network: str) -> list[int]:
    rows = [row for row in record["cells"] if row["network"] == network and row["chunk"]]
    return sorted({row["chunk"] for row in rows})


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
    axes.set_title(f"{network}, {bound}chunk {chunk}")


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
