"""Draws each record beside its JSON file; shows nothing that the file does not hold.

Run from the repository's root: python -m benchmarks.host.plots
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # a file is all that is wanted

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.host.record import RESULTS, read

BLUE, LIGHT_BLUE, GREY, DARK, ORANGE, GREEN = (
    "#1f5fa8",
    "#7fb2e5",
    "#b4b4b4",
    "#555555",
    "#d9772b",
    "#3c8d57",
)
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "legend.frameon": False,
}


def ipc(record: dict[str, Any]) -> plt.Figure:
    """CPU time per request by way and size, on a logarithmic axis; whiskers are the quartiles."""
    sizes = list(record["parameters"]["shapes"])
    ways = list(record["parameters"]["ways"])
    colours = dict(zip(ways, (BLUE, LIGHT_BLUE, GREEN, GREY, DARK), strict=True))
    figure, axes = plt.subplots(figsize=(9, 5.6))
    rows = {(row["way"], row["size"]): row["cpu_ms"] for row in record["rows"]}
    for number, size in enumerate(sizes):
        for place, way in enumerate(ways):
            found = rows[way, size]
            at = number + 0.16 * (place - 2)
            middle = found["median"]
            axes.barh(at, middle, 0.145, color=colours[way], label=way if not number else None)
            axes.plot([found["q1"], found["q3"]], [at, at], color="black", lw=1)
            axes.text(
                max(middle, found["q3"]) * 1.06, at, f"{middle:.3g}", va="center", fontsize=8.5
            )
    goal = record["goal"]
    middle = sizes.index(goal["size"])
    axes.plot([goal["cpu_ms"]] * 2, [middle - 0.42, middle + 0.42], color=ORANGE, ls="--", lw=1.5)
    axes.text(goal["cpu_ms"], middle - 0.45, f"goal {goal['cpu_ms']:g}", color=ORANGE, ha="center")
    axes.set_xscale("log")
    axes.set_xlim(0.012, 60)
    axes.set_ylim(len(sizes) - 0.5, -0.5)
    axes.set_yticks(range(len(sizes)), [f"{size}\na request" for size in sizes])
    axes.set_xlabel("CPU milliseconds per request, client and server together (log)")
    axes.set_title("There and back between two processes")
    axes.legend(loc="upper right", fontsize=9)
    return figure


def scheduling(record: dict[str, Any]) -> plt.Figure:
    """Throughput, batch and latency by number of clients; a line for each ratio b/a."""
    clients, ratios = record["parameters"]["clients"], record["parameters"]["ratios"]
    rows = {(row["demand"], row["ratio"], row["clients"]): row for row in record["rows"]}
    colours = plt.colormaps["viridis"](np.linspace(0.05, 0.85, len(ratios)))
    titles = {
        "greedy": "greedy: each client sends what its credits allow",
        "lockstep": "lockstep: each client waits for each answer",
    }
    figure, grid = plt.subplots(2, 3, figsize=(12, 7), sharex=True)
    for line, (demand, title) in zip(grid, titles.items(), strict=True):
        fraction, batch, latency = line
        for ratio, colour in zip(ratios, colours, strict=True):
            cells = [rows[demand, ratio, count] for count in clients]
            options: dict[str, Any] = {"color": colour, "marker": "o", "ms": 4}
            fraction.plot(
                clients,
                [cell["fraction_of_ideal"] for cell in cells],
                label=f"b/a = {ratio:g}",
                **options,
            )
            batch.plot(clients, [cell["mean_batch"] for cell in cells], **options)
            latency.plot(clients, [cell["latency_ms"]["p50"] for cell in cells], **options)
            latency.plot(
                clients, [cell["latency_ms"]["p99"] for cell in cells], ls=":", color=colour, lw=1.2
            )
        fraction.axhline(record["goal"]["fraction_of_ideal"], color=ORANGE, ls="--", lw=1.2)
        fraction.set_ylim(0, 1.08)
        fraction.set_ylabel("throughput / ideal")
        fraction.set_title(title)
        batch.set_ylim(0, record["parameters"]["max_batch"] + 1)
        batch.set_ylabel("mean batch, items")
        latency.set_ylim(0)
        latency.set_ylabel("latency, ms: p50 (solid), p99 (dotted)")
    bound = [min(count, record["parameters"]["max_batch"]) for count in clients]
    grid[1, 1].plot(clients, bound, color=GREY, lw=5, alpha=0.4, zorder=0)
    grid[1, 1].text(clients[-2], bound[-2] + 1.8, "all there is", color=DARK, ha="right")
    goal = record["goal"]
    grid[1, 1].plot(
        goal["clients"], goal["mean_batch"], marker="_", ms=16, mew=2, color=ORANGE, zorder=3
    )
    grid[1, 1].text(goal["clients"], goal["mean_batch"] + 0.3, "goal", color=ORANGE, ha="right")
    for axes in grid[1]:
        axes.set_xscale("log", base=2)
        axes.set_xticks(clients, [str(count) for count in clients])
        axes.set_xlabel("clients")
    grid[0, 0].legend(loc="lower right", fontsize=9, ncols=2)
    grid[0, 0].text(clients[0], goal["fraction_of_ideal"] - 0.07, "goal", color=ORANGE)
    return figure


def whole_job(record: dict[str, Any]) -> plt.Figure:
    """Frames per second of the loop's ways and of the job; CPU time a frame by process."""
    figure, (rates, costs) = plt.subplots(1, 2, figsize=(11.5, 5), width_ratios=(1.35, 1))
    names = {
        (1, "in line"): "one process, all cores",
        (1, "thread"): "one process, decoder in a thread",
        (record["parameters"]["tasks"], "in line"): "a process a core",
    }
    styles = (":", "--", "-")
    for (key, name), style in zip(names.items(), styles, strict=True):
        trials = [row for row in record["trials"] if (row["processes"], row["decoder"]) == key]
        rates.plot(
            [row["batch"] for row in trials],
            [row["frames_per_s"] for row in trials],
            color=DARK,
            ls=style,
            marker="o",
            ms=4,
            label=f"trial, {name}",
        )
    batch = record["loop"]["way"]["batch"]
    # Above and below: the two may be as good as equal.
    for what, colour, label, side in (
        ("loop", DARK, "best loop, whole clips", "bottom"),
        ("job", BLUE, "whole job", "top"),
    ):
        found = record[what]["frames_per_s"]
        rates.axhline(found["median"], color=colour, lw=2.5, alpha=0.7)
        rates.axhspan(found["min"], found["max"], color=colour, alpha=0.12)
        rates.text(8.6, found["median"], f" {label}\n {found['median']:.1f}", color=colour, va=side)
    rates.axvline(batch, color=GREY, lw=1, zorder=0)
    rates.set_xscale("log", base=2)
    rates.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    rates.set_ylim(0)
    rates.set_xlabel("batch of the plain loop")
    rates.set_ylabel("frames per second")
    rates.set_title(f"Steady state on {record['machine']['cores']} cores")
    rates.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.5, ncols=3)
    kinds = record["job"]["cpu_ms_per_frame_by_kind"]
    colours = {"host": BLUE, "workers": LIGHT_BLUE, "JVM": GREY, "driver": DARK}
    costs.bar(0, record["loop"]["cpu_ms_per_frame"]["median"], 0.55, color=GREEN, label="loop")
    bottom = 0.0
    for kind, colour in colours.items():
        value = kinds[kind]["median"]
        costs.bar(1, value, 0.55, bottom=bottom, color=colour, label=kind)
        if value > 0.4:
            costs.text(
                1,
                bottom + value / 2,
                f"{kind} {value:.2f}",
                ha="center",
                va="center",
                color="white",
            )
        bottom += value
    loop = record["loop"]["cpu_ms_per_frame"]["median"]
    costs.text(0, loop / 2, f"loop {loop:.2f}", ha="center", va="center", color="white")
    costs.set_xticks([0, 1], ["best plain loop", "whole job"])
    costs.set_ylabel("CPU milliseconds a frame")
    costs.set_title("Where the time goes")
    return figure


def sharing_memory(record: dict[str, Any]) -> plt.Figure:
    """Memory of hosts and workers, Shared and PerTask."""
    figure, axes = plt.subplots(figsize=(6.4, 4.8))
    names = []
    for at, row in enumerate(record["rows"]):
        hosts, workers = row["hosts_mib"]["median"], row["workers_mib"]["median"]
        total = row["total_mib"]
        axes.bar(at, hosts, 0.5, color=BLUE, label="hosts" if not at else None)
        axes.bar(
            at, workers, 0.5, bottom=hosts, color=LIGHT_BLUE, label="workers" if not at else None
        )
        # The median of sums is not the sum of medians; nor may the goal's line cross the figure.
        above = max(hosts + workers, total["median"]) + 140
        axes.text(at, above, f"{total['median']:,.0f} MiB", ha="center")
        copies = "1 model" if row["model_copies"] == 1 else f"{row['model_copies']} models"
        names.append(f"{row['sharing']}\n{copies}")
    limit = record["goal"]["fraction"] * record["rows"][1]["total_mib"]["median"]
    axes.axhline(limit, color=ORANGE, ls="--", lw=1.5)
    goal = f"goal\n{record['goal']['fraction']:g} of PerTask"
    axes.text(0.5, limit + 40, goal, color=ORANGE, ha="center")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylabel("MiB (proportional set size), median")
    axes.set_title(f"Memory of {record['parameters']['tasks']} tasks, YOLO-v3 at 416")
    axes.legend(loc="upper left")
    return figure


PLOTS: dict[str, Callable[[dict[str, Any]], plt.Figure]] = {
    "ipc": ipc,
    "scheduling": scheduling,
    "whole_job": whole_job,
    "sharing_memory": sharing_memory,
}


def main(names: list[str]) -> None:
    for name in names or PLOTS:
        with mpl.rc_context(STYLE):
            figure = PLOTS[name](read(name))
            figure.tight_layout()
            # Without the date that matplotlib writes, equal records give equal files.
            figure.savefig(RESULTS / f"{name}.png", metadata={"Software": None})
            plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
