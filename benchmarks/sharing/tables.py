"""The tables of docs/performance-of-sharing.md. Pure: rows of a record in, Markdown out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.host.page import table
from benchmarks.sharing.cells import ARMS, IDEAS, LOOPS
from benchmarks.sharing.ratios import Row, at, most_tasks, rate, rows_of
from benchmarks.sharing.record import SPREAD

_ASKING = [arm for arm in ARMS if arm not in LOOPS]


def rates(record: dict[str, Any], network: str) -> str:
    """Items per second of every cell, a column for each arm."""
    cells = sorted(
        {
            (row["budget_gib"], row["tasks"], row["chunk"])
            for row in record["cells"]
            if row["network"] == network and row["arm"] in _ASKING and not row["without"]
        }
    )
    arms = [arm for arm in _ASKING if rows_of(record, network, arm)]
    lines = []
    for budget, tasks, chunk in cells:
        found = [at(rows_of(record, network, arm), tasks, chunk, budget) for arm in arms]
        bound = f"{budget:g} GiB" if budget else "none"
        lines.append([bound, str(tasks), str(chunk), *(_rate(row) for row in found)])
    head = ["budget", "tasks", "chunk", *(f"({arm}), items/s" for arm in arms)]
    return table(head, lines)


def _rate(row: Row | None) -> str:
    if row is None:
        return ""
    if "unfit" in row:
        return "too many"
    return _with_quartiles(row["items_per_s"])


def _with_quartiles(found: dict[str, float]) -> str:
    digits = 0 if found["median"] >= 100 else 1
    middle, low, high = (f"{found[name]:,.{digits}f}" for name in ("median", "q1", "q3"))
    return middle if found["n"] == 1 else f"{middle} ({low} to {high})"


def costs(record: dict[str, Any], network: str) -> Iterator[str]:
    """What the arms cost in the cell in which (d) is best with most tasks."""
    mine = most_tasks(record, network, float("inf"))
    if mine is None:
        return
    rows = [_fitting(rows_of(record, network, arm), mine) for arm in _ASKING]
    lines = [_cost(row) for row in rows if row is not None]
    yield (
        f"With chunks of {mine['chunk']}, in the cell with most tasks that each arm's copies fit "
        "in:\n"
    )
    head = [
        "arm",
        "tasks",
        "models",
        "MiB of main memory",
        "MiB of the device",
        _LOAD,
        "CPU-s for 1,000 items",
        "batch",
        "chunk p50, p99, ms",
        "ready after, s",
    ]
    place = head.index(_LOAD)
    if not any(line[place] for line in lines):  # a device that tells nothing of it
        for line in (head, *lines):
            del line[place]
    yield table(head, lines)


def _fitting(rows: list[Row], like: Row) -> Row | None:
    found = [row for row in rows if row["chunk"] == like["chunk"] and "items_per_s" in row]
    return max(found, key=lambda row: (row["tasks"], row["budget_gib"]), default=None)


_LOAD = "device busy, mean W"


def _load(median: Mapping[str, float]) -> str:
    """Of a GPU, where its driver tells."""
    formats = {"gpu_busy": ".0%", "watts": ".0f"}
    return ", ".join(f"{median[name]:{how}}" for name, how in formats.items() if name in median)


def _cost(row: Row) -> list[str]:
    median = {name: row[name]["median"] for name in SPREAD if name in row}
    device = row.get("device_mib")
    if device is None and "process_device_bytes" in row:
        device = row["copies"] * (row["process_device_bytes"] >> 20)
    ready = f"{median['start_up_s']:.1f}" if "start_up_s" in median else "each task"
    return [
        f"({row['arm']})",
        str(row["tasks"]),
        str(row["copies"]),
        f"{median['memory_mib']:,.0f}" if "memory_mib" in median else "",
        f"{device:,}" if device is not None else "",
        _load(median),
        f"{median['cpu_s_per_1000']:.2f}",
        f"{median['mean_batch']:.1f}",
        f"{row['chunk_ms']['p50']:.1f}, {row['chunk_ms']['p99']:.1f}",
        ready,
    ]


def loops(record: dict[str, Any], network: str) -> Iterator[str]:
    """Loops at their best."""
    lines = []
    for arm in LOOPS:
        for row in rows_of(record, network, arm):
            if "items_per_s" not in row:
                continue
            manner = row["manner"]
            how = f"batch {manner['batch']}, {manner['lanes']} thread{'s' * (manner['lanes'] > 1)}"
            recorded = ", recorded" if manner["recorded"] else ""
            cost = row["cpu_s_per_1000"]["median"]
            rates = _with_quartiles(row["items_per_s"])
            lines.append(
                [f"({arm}) {ARMS[arm]}", rates, f"{how}{recorded}", f"{cost:.2f}", _tried(row)]
            )
    if lines:
        yield table(
            [
                "",
                "items/s",
                "at its best with",
                "CPU-s for 1,000 items",
                "short trials: best items/s by batch",
            ],
            lines,
        )


def _tried(row: Row) -> str:
    """The best of the short trials of each batch."""
    found: dict[int, float] = {}
    for trial in row["tried"]:
        found[trial["batch"]] = max(found.get(trial["batch"], 0.0), trial["items_per_s"])
    return ", ".join(f"{batch}: {found[batch]:,.0f}" for batch in sorted(found))


def ideas(record: dict[str, Any], network: str) -> Iterator[str]:
    """(d) less one idea at a time."""
    lines = []
    for idea, says in IDEAS.items():
        for row in rows_of(record, network, "d", idea):
            whole = at(rows_of(record, network, "d"), row["tasks"], row["chunk"], row["budget_gib"])
            if whole is None or "items_per_s" not in row or "items_per_s" not in whole:
                continue
            lines.append(
                [
                    f"{idea.replace('_', ' ')} ({says})",
                    f"{row['tasks']}, {row['chunk']}",
                    _with_quartiles(row["items_per_s"]),
                    f"{rate(row) / rate(whole):.3f}",
                    f"{row['cpu_s_per_1000']['median']:.2f}",
                    f"{whole['cpu_s_per_1000']['median']:.2f}",
                ]
            )
    if lines:
        yield table(
            [
                "(d) without",
                "tasks, chunk",
                "items/s",
                "of (d)",
                "CPU-s for 1,000 items",
                "of (d) whole",
            ],
            lines,
        )
