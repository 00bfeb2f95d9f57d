"""Writes docs/performance.md: each of its numbers comes from a record, so none can drift.

Run from the repository's root: python -m benchmarks.host.page [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.host.hosts import ROOT
from benchmarks.host.record import read

PAGE = ROOT / "docs" / "performance.md"
_PICTURES = "../benchmarks/host/results"

_HEAD = """\
# Performance of the model host

`make bench-host` measures and writes this page from the records in
[benchmarks/host/results](../benchmarks/host/results); a test fails where page and records differ.
Each section says what was measured and how, what came out, and which goal it meets or misses.
"""

_IPC = """\
## There and back

CPU time (user and system, client and server together) of one request with one item, the answer
being three boxes. Nobody computes. "Decoded in place": the item is written where the host reads it,
which costs what decoding costs anywhere, so nothing is written here. "Written once": the client
copies a finished item into its slot. The other ways are each the best of their kind: a stream into
a buffer that is there already, arrays over `multiprocessing.connection`, gRPC with plain bytes. One
request is outstanding at a time, so no way can spread its wake-ups over several, and Carpool makes
a batch for each.
"""

_IPC_GOAL = """\
It does not say how many items a request has and how many are outstanding, so each case is held
against it by itself. With one of one, an item pays alone for every wake-up and for a batch. Tasks
send requests of up to 16 items or 8 MB, whose items share both; and they send them as far as the
credits reach, so that requests share them, too. A batch of several requests' items is put together
by copying them: on a CPU, 1.2 MB of that cost more than the whole way, which items of 3 KB show
without it. A GPU fetches each item from where it lies.
"""

_SCHEDULING = """\
## Batches on a simulated device

The device takes exactly b + a·n for a batch of n items and accepts a second batch while one runs;
a full batch takes the same whatever b/a is. Clients are processes, a request has one item.

* **greedy**: a client has outstanding what its credits allow. The ideal is the device's best rate.
* **lockstep**: a client has one item outstanding and asks again when it is answered. Of N clients
  at most N items can be in a batch, so the ideal is N / t(N): a device that is never idle and
  always runs all there is. A round trip that takes no time is not to be had, so 1 is not either.

Throughput is the slope of the answered items over time. A client's wait is a request's time in the
queue, as the host tells it; compared are the longest waits of the client that waited most and of
the one that waited least, in batches. Jain's index is over the items that each client got.
"""

_WHOLE_JOB = """\
## A whole job beside a plain loop

The loop decodes, resizes, infers and makes boxes with the same code, without Spark, host, sockets
or files. It is tried with one process that computes on all cores (decoder in line, or in a thread)
and with a process a core, at batches of 1, 2, 4 and 8, for a short while each; the three that were
fastest then run over all clips, in turns with the job, and the one that is fastest there is what
the job is measured by. The job decodes, detects, tracks and commits. Steady state: of the loop,
from the first frame after the warm-up to the last; of the job, the slope of frames committed over
time while all tasks have work. Start-up is in neither. The CPU ratio says the same in CPU time a
frame: it holds where the machine was not idle, and does not see cores that wait.
"""

_MEMORY = """\
## One model, or one for each task

The same job run with `sharing: Shared` and `sharing: PerTask`. Counted is the proportional set size
of hosts and Spark workers (a page that k processes share counts 1/k to each) while all tasks run;
JVM and driver are the same in both and left out.
"""


def render() -> str:
    """The page."""
    parts = [_HEAD, *_ipc(read("ipc")), *_scheduling(read("scheduling"))]
    parts += [*_whole_job(read("whole_job")), *_memory(read("sharing_memory"))]
    return "\n".join(parts)


def _ipc(record: dict[str, Any]) -> Iterable[str]:
    sizes = list(record["parameters"]["shapes"])
    rows = {(row["way"], row["size"]): row["cpu_ms"] for row in record["rows"]}
    goal = record["goal"]
    yield _IPC
    yield _picture("ipc", "CPU time per request by way and size")
    yield table(
        ["CPU-ms a request, median (quartiles)", *sizes],
        [
            [way, *(_with_quartiles(rows[way, size]) for size in sizes)]
            for way in record["parameters"]["ways"]
        ],
    )
    yield (
        f"Goal: at most {goal['cpu_ms']:g} CPU-ms for a request of {goal['size']}, decoded in "
        f"place.\n{_IPC_GOAL}"
    )
    alone = {"outstanding": "one", "items": 1, "size": goal["size"]}
    alone |= {"cpu_ms": rows[goal["way"], goal["size"]]}
    yield table(
        [
            "requests outstanding",
            "items a request",
            "of",
            "CPU-ms an item, median (quartiles)",
            "goal",
        ],
        [
            [
                row["outstanding"],
                str(row["items"]),
                row["size"],
                _with_quartiles(row["cpu_ms"]),
                verdict(row["cpu_ms"]["median"] <= goal["cpu_ms"]),
            ]
            for row in (alone, *record["as_tasks_send"])
        ],
    )
    yield footnote(record, f"{record['parameters']['repeats']} repeats in random order")


def _scheduling(record: dict[str, Any]) -> Iterable[str]:
    parameters, goal = record["parameters"], record["goal"]
    rows = {(row["demand"], row["ratio"], row["clients"]): row for row in record["rows"]}
    yield _SCHEDULING
    yield _picture("scheduling", "throughput, mean batch and latency by number of clients")
    for demand in ("greedy", "lockstep"):
        yield table(
            [f"{demand}, {goal['clients']} clients", *_COLUMNS],
            [
                [f"b = {ratio:g}·a", *_cell(rows[demand, ratio, goal["clients"]])]
                for ratio in parameters["ratios"]
            ],
        )
    lockstep = rows["lockstep", goal["ratio"], goal["clients"]]
    greedy = rows["greedy", goal["ratio"], goal["clients"]]
    longest = max(row["wait_difference_batches"]["max"] for row in (greedy, lockstep))
    fractions = [row["fraction_of_ideal"] for row in record["rows"] if row["demand"] == "greedy"]
    good = sum(fraction >= goal["fraction_of_ideal"] for fraction in fractions)
    yield (
        f"Goals, with b = {goal['ratio']}·a and {goal['clients']} clients: a mean batch of at "
        f"least {goal['mean_batch']:g} in lockstep, "
        f"{verdict(lockstep['mean_batch'] >= goal['mean_batch'])} with "
        f"{lockstep['mean_batch']:.2f}; no client waits more than "
        f"{goal['wait_difference_batches']:g} batches longer than another, "
        f"{verdict(longest <= goal['wait_difference_batches'])} with {longest:.2f}. "
        f"Where demand is there (greedy), at least {goal['fraction_of_ideal']:g} of the ideal: "
        f"{verdict(good == len(fractions))} with {min(fractions):.3f} in the worst of "
        f"{len(fractions)} cells, {good} of which reach it.\n"
    )
    yield footnote(record, f"{parameters['seconds']:g} s a cell")


_COLUMNS = (
    "of ideal",
    "mean batch",
    "latency p50, p99, ms",
    "items, most less fewest",
    "Jain",
    "longest waits differ by, batches",
)


def _cell(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['fraction_of_ideal']:.3f}",
        f"{row['mean_batch']:.2f}",
        f"{row['latency_ms']['p50']:.1f}, {row['latency_ms']['p99']:.1f}",
        f"{row['items_by_client']['max_minus_min']}",
        f"{row['items_by_client']['jain']:.4f}",
        f"{row['wait_difference_batches']['max']:.2f}",
    ]


def _whole_job(record: dict[str, Any]) -> Iterable[str]:
    way, job, loop = record["loop"]["way"], record["job"], record["loop"]
    parameters = record["parameters"]
    reached, goal = record["fraction"]["median"], record["goal"]["fraction"]
    cores = record["machine"]["cores"]
    yield _WHOLE_JOB
    yield _picture("whole_job", "frames per second and CPU time a frame of loop and job")
    yield table(
        ["", "frames/s, median (min to max)", "CPU-ms a frame"],
        [
            [name, _with_range(found["frames_per_s"]), f"{found['cpu_ms_per_frame']['median']:.2f}"]
            for name, found in (("best plain loop", loop), ("whole job", job))
        ],
    )
    kinds = ", ".join(
        f"{kind} {found['median']:.2f}" for kind, found in job["cpu_ms_per_frame_by_kind"].items()
    )
    threads = f"{way['threads']} compute thread{'s' * (way['threads'] > 1)}"
    processes = (
        f"one process with {threads}"
        if way["processes"] == 1
        else f"{way['processes']} processes with {threads} each"
    )
    yield (
        f"{parameters['network']}, {parameters['video_seconds']:g} s of video "
        f"({parameters['clip']}), {cores} cores, {parameters['tasks']} tasks. The best loop: "
        f"{processes}, decoder {way['decoder']}, batch {way['batch']}. "
        f"The job's CPU time a frame: {kinds}; it kept {job['cores_busy']['median']:.2f} of "
        f"{cores} cores busy.\n"
    )
    yield (
        f"Goal: at least {goal:g} of the loop; {verdict(reached >= goal)} with {reached:.3f} "
        f"({record['fraction']['min']:.3f} to {record['fraction']['max']:.3f}). By CPU time: "
        f"{record['cpu_fraction']['median']:.3f}. The whole job took "
        f"{job['seconds']['median']:.1f} s, start-up and end included.\n"
    )
    yield footnote(record, f"{parameters['repeats']} runs of each, in turns")


def _memory(record: dict[str, Any]) -> Iterable[str]:
    reached, goal = record["fraction"]["median"], record["goal"]["fraction"]
    parameters = record["parameters"]
    yield _MEMORY
    yield _picture("sharing_memory", "memory of hosts and workers, Shared and PerTask")
    yield table(
        ["MiB, median", "model copies", "hosts", "workers", "together", "highest"],
        [
            [
                row["sharing"],
                str(row["model_copies"]),
                f"{row['hosts_mib']['median']:,.0f}",
                f"{row['workers_mib']['median']:,.0f}",
                f"{row['total_mib']['median']:,.0f}",
                f"{row['total_mib']['max']:,.0f}",
            ]
            for row in record["rows"]
        ],
    )
    yield (
        f"{parameters['tasks']} tasks, {parameters['model']}, batches as the host "
        f"chooses them. Goal: Shared needs at most {goal:g} of PerTask's memory; "
        f"{verdict(reached <= goal)} with {reached:.3f} (of the highest values "
        f"{record['fraction']['max']:.3f}).\n"
    )
    yield footnote(record, "a look each half second")


def verdict(met: bool) -> str:
    """Whether a goal is met."""
    return "**met**" if met else "**missed**"


def _with_quartiles(found: dict[str, float]) -> str:
    return f"{found['median']:.3f} ({found['q1']:.3f} to {found['q3']:.3f})"


def _with_range(found: dict[str, float]) -> str:
    return f"{found['median']:.1f} ({found['min']:.1f} to {found['max']:.1f})"


def _picture(name: str, says: str) -> str:
    return f"![{says}]({_PICTURES}/{name}.png)\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def footnote(record: dict[str, Any], how: str) -> str:
    """When, on what and with what a record was made, and whether the machine was idle."""
    machine = record["machine"]
    busy = machine["load_average"] > machine["cores"] / 2
    warning = " **Others used the machine meanwhile: times are too long.**" if busy else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"<sub>{record['date'][:10]}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB, Linux {machine['kernel']}, Python {machine['python']}, "
        f"{versions}; load average at the start {machine['load_average']:g}; "
        f"{how}.{warning}</sub>\n"
    )


def write_or_check(page: Path, text: str, module: str, arguments: Sequence[str]) -> int:
    """Write a page, or with --check say whether it is what the records give; the exit status."""
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"docs/{page.name} is not what the records give; run: python -m {module}", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "benchmarks.host.page", sys.argv[1:]))
