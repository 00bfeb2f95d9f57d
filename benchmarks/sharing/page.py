"""Writes docs/performance-of-sharing.md: each of its numbers comes from a record.

Run from the repository's root: python -m benchmarks.sharing.page [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.host.hosts import ROOT
from benchmarks.host.page import footnote, verdict, write_or_check
from benchmarks.sharing.ratios import (
    FEW_TASKS,
    Beside,
    Row,
    budgets,
    cell_by_cell,
    of_roof,
    over_best,
)
from benchmarks.sharing.record import read
from benchmarks.sharing.tables import costs, ideas, loops, rates

PAGE = ROOT / "docs" / "performance-of-sharing.md"
_PICTURES = "../benchmarks/sharing/results"
GOALS = {"over_a": 2.36, "of_roof": 0.90, "of_roof_yolov3": 0.95}

_HEAD = """\
# What sharing one model buys

`make bench-gpu` and `make bench-sharing` measure and write this page from the records in
[benchmarks/sharing/results](../benchmarks/sharing/results); a test fails where page and records
differ. Neither needs Spark or Java: tasks are processes, and each asks for chunk after chunk of its
frames, through Carpool's own client or in one of the ways that others have.

* **(a)** one model per task: a process imports PyTorch, loads the model, computes its items, ends,
  and the next task does the same. Its rate is over whole task lives, with so many tasks at once. On
  a GPU each cell is run with and without trying cuDNN's algorithms out, and counts at its better.
* **(b)** one model per process, loaded once and kept warm, as `predict_batch_udf` keeps it.
* **(c)** a model server in Python, spoken to by gRPC: float32 pixels in the message, a window of
  5 ms in which a batch waits for more. **(c+)** the same at its best: uint8 in shared memory,
  batches take what is there, two chunks of each task in flight, two threads that compute.
* **(d)** Carpool: a task has as much outstanding as the host's credits allow, about three batches
  over all tasks, so with few tasks and small chunks more than the two chunks of (c+), at the price
  of latency. "Without" an idea is (d) less this one.
* **(e0)** a loop over frames that are on the device, **(e1)** a loop that feeds it from main memory
  (the roof for all of the above), **(e2)** a loop that decodes too. Each with its best batch.

All arms compute with the same handler, in the same precision, channels-last, without gradients; all
but (c) move uint8; (b) uploads from pinned memory on a GPU, as (c+) and the loops do; on a
processor all have the allocator tuned as Carpool's host tunes its own. Frames are decoded before
the clock starts but in (e2), and each arm copies each frame once to where it needs it. All tasks
are ready before the clock starts, and the first and last tenth of the time do not count, but in
(a). Chance orders the runs anew in each repetition. Every arm's rows but those of (e2), which has
other frames, were compared with a plain loop's. A cell's figure is the median of its runs
(quartiles). "Too many" are copies of the model for the budget, which was found by trying. CPU time
is of all processes of the arm.
"""

_ABSENT = """\
## On a GPU

No GPU was there to measure on yet, so there is **no figure of a GPU** on this page, and none may be
inferred from those below. `make bench-gpu` measures and fills this section.
"""

_GPU = """\
## On a GPU

Budgets are of the whole GPU: each process of (a) and (b) may take its part of it less half a GiB
for its CUDA context, which is less than a context takes. The largest budget is the whole card; a
model of a quarter of a GiB does not lack memory there, so a ratio in that row says nothing about
memory, and the one at 8 GiB is of a GPU that is shared out.

Who waits for a GPU by PyTorch's own calls spins on a core as a rule: the tasks of (a) and (b), the
servers and the loops. Carpool's host sleeps until the device wakes it. So CPU time compares ways of
waiting here, besides what the way to the model costs. Memory of the device is what is held after
the first batches, in which cuDNN tries algorithms that take more; in (a) these batches are part of
each life.
"""

_SIMULATED = """\
## On a simulated device

The device is a clock: a batch of n items takes b + a·n, one batch runs at a time, and memory is
counted. It shows how an arm uses a device whose batches have a fixed cost: who makes large batches,
who leaves it idle, whose copies do not fit. How large b is beside a, how much memory a model takes
and how long it loads were **chosen**, so the size of a ratio here is a consequence of that choice
and says nothing about any GPU. The processor's work (copies, messages) is real, and is done on this
machine's cores; copies to the device and switching between processes on it cost nothing here, which
favours (a), (b) and (c).
"""

_CPU = """\
## On a processor

Real networks on the cores of this machine, each compute thread a core at most; nothing bounds
memory. Computing and moving frames share the same cores. So this can show what the way to the model
costs and how many copies are in memory; it **cannot** show a gain by overlap or by a device that is
kept busy, and (a) is slow here above all by importing PyTorch for so few items.

Batches of a convolution gain next to nothing on a processor at full size, so Carpool's host
computes a batch of one or two on each core. At this small input batches of four do pay, as the
loops' trials by batch show, and (b), (c+) and the loops have them, while (d) has batches of the
size that stands beside it: where it is behind, hold it against a loop at that batch. The heavy
model reads all of its weights for each batch, whatever its size: there batches pay on a processor
as they do on a GPU, and the host makes them.
"""

_HEADS = {"gpu": _GPU, "simulated": _SIMULATED, "cpu": _CPU}


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for name, head in _HEADS.items():
        record = read(name)
        if record is None:
            parts += [_ABSENT] if name == "gpu" else []
        else:
            parts += [head, *section(name, record)]
    return "\n".join(parts)


def section(name: str, record: dict[str, Any]) -> Iterator[str]:
    """What is said of a record: goals are of a GPU."""
    yield f"![items per second by tasks]({_PICTURES}/{name}.png)\n"
    for network, says in record["networks"].items():
        yield f"### {network.capitalize() if network != 'yolov3' else 'YOLO-v3'}\n"
        yield f"{says[0].upper()}{says[1:]}.\n"
        yield rates(record, network)
        yield from costs(record, network)
        yield from loops(record, network)
        yield from ideas(record, network)
        yield from _ratios(record, network, goals=name == "gpu")
    yield _sameness(record)
    yield from _sessions(record)


def _ratios(record: dict[str, Any], network: str, *, goals: bool) -> Iterator[str]:
    said = [*_over_a(record, network, goals=goals), *_of_roof(record, network, goals=goals)]
    for arm in ("b", "c+"):
        said += _ahead(list(cell_by_cell(record, network, arm)), arm)
    if said:
        yield "\n".join(f"* {each}" for each in said) + "\n"


def _over_a(record: dict[str, Any], network: str, *, goals: bool) -> Iterable[str]:
    for budget in budgets(record, network):
        found = over_best(record, network, "a", budget)
        if found is None:
            continue
        bound = f" with {budget:g} GiB" if budget else ""
        goal = ""
        if goals and network == "yolov3" and budget in (8, 16):
            goal = f" (goal {GOALS['over_a']:g}: {verdict(found.ratio >= GOALS['over_a'])})"
        yield (
            f"(d) / (a){bound}: **{found.ratio:.2f}**{goal}; (d) with {_where(found.mine)}, (a) at "
            f"its best with {_where(found.other)}, {_task(found.other)}."
        )


def _task(row: Row) -> str:
    return f"a task's life {row['life_s']['median']:.1f} s"


def _of_roof(record: dict[str, Any], network: str, *, goals: bool) -> Iterable[str]:
    found = of_roof(record, network)
    if found is None:
        return
    goal = GOALS["of_roof_yolov3" if network == "yolov3" else "of_roof"]
    judged = f" (goal {goal:g}: {verdict(found.ratio >= goal)})" if goals else ""
    yield f"(d) / (e1): **{found.ratio:.3f}**{judged}; (d) with {_where(found.mine)}."


def _ahead(found: list[Beside], arm: str) -> Iterable[str]:
    if not found:
        return
    fitting = [each for each in found if each.fits]
    unfit = len(found) - len(fitting)
    text = f"(d) / ({arm}) in all cells ({len(found)}) with {FEW_TASKS} tasks or more: "
    if fitting:
        ratios = sorted(each.ratio for each in fitting)
        behind = [each for each in fitting if each.ratio < 1]
        text += f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        if behind:
            cells = "; ".join(f"{each.ratio:.2f} with {_where(each.other)}" for each in behind)
            text += f"; **behind** in {len(behind)}: {cells}"
    if unfit:
        text += f"{'; ' if fitting else ''}in {unfit} ({arm}) does not fit"
    yield f"{text}."


def _where(row: Row) -> str:
    bound = f" and {row['budget_gib']:g} GiB" if row["budget_gib"] else ""
    return f"{row['tasks']} tasks, chunks of {row['chunk']}{bound}"


def _sameness(record: dict[str, Any]) -> str:
    rows = [row for row in record["cells"] if "difference" in row]
    largest = max((row["difference"]["largest"] for row in rows), default=0.0)
    unpaired = max((row["difference"]["unpaired"] for row in rows), default=0.0)
    wrong = [row for row in rows if not row["same"]]
    failed = [row for row in record["cells"] if "failed" in row]
    fewest = min((row["difference"]["rows"] for row in rows), default=0)
    text = (
        f"Rows of {len(rows)} cells were compared with the reference's, at least {fewest} in each: "
        f"the largest difference of a value is {largest:.3g}, and at most {100 * unpaired:.2g} % "
        "of the rows have no partner. "
    )
    text += f"**{len(wrong)} cells are out of tolerance.** " if wrong else "All within tolerance. "
    return text + (f"**{len(failed)} cells failed.**\n" if failed else "No cell failed.\n")


def _sessions(record: dict[str, Any]) -> Iterator[str]:
    counts = [row["items_per_s"]["n"] for row in record["cells"] if "items_per_s" in row]
    for session in record["sessions"][-1:]:
        repeats = str(max(counts, default=0))
        if counts and min(counts) != max(counts):
            repeats = f"{min(counts)} to {repeats}"
        how = (
            f"{record['device']}; {session['seconds']:g} s a run, {repeats} runs of a cell, "
            f"{session['task_items']:,} items a task of (a)"
        )
        yield footnote(session, how)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "benchmarks.sharing.page", sys.argv[1:]))
