"""What the way there and back costs: CPU time per request, of client and host together.

Carpool's host beside a pickle pipe, a Unix socket and gRPC, for items of three sizes. Client and
server of each way are processes of their own that live through the whole run; the cells are
measured in turns, in random order, so that whatever else the machine does meets all of them.
One request is outstanding at a time, so every request pays for a batch of its own.

Beside that, Carpool as tasks use it. A task sends requests of as many items as the host allows: up
to 16, or 8 MB. And it sends them as far as the credits reach, so that they share batches. Each is
measured alone and both together, as CPU time an item. Where a batch has several parts, each item is
copied once more to put it together: so it is also measured with items of 3 KB, where that is
nothing and the way is all there is.

Writes results/ipc.json.

Run from the repository's root: python -m benchmarks.host.bench_ipc
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.host import ipc_ways
from benchmarks.host.cpu_time import cpu_seconds
from benchmarks.host.hosts import serving
from benchmarks.host.idle_handler import REFERENCE
from benchmarks.host.record import Record, spread
from carpool.host.inquiry import ask_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.host.hosts import Serving
    from benchmarks.host.ipc_ways import Ask

SHAPES = {"0.15 MB": (224, 224, 3), "1.2 MB": (640, 640, 3), "9.6 MB": (1792, 1792, 3)}
WAYS = {
    "carpool, decoded in place": "the item is there when the request is sent",
    "carpool, written once": "the client copies the item into its slot",
    "Unix socket": "stream, into a buffer of the server",
    "pickle pipe": "multiprocessing.connection",
    "gRPC": "grpcio over a Unix socket, bytes",
}
_ALL_SHAPES = SHAPES | {"3 KB": (32, 32, 3)}
_SLOT_WAYS = {
    "carpool, decoded in place": {"write": False},
    "carpool, written once": {"write": True},
}
GOAL = {"way": "carpool, decoded in place", "size": "1.2 MB", "cpu_ms": 0.05}

_ALONE, _CREDITS = "one", "as the credits reach"

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Demand:
    """How a task asks Carpool.

    Attributes:
        outstanding: requests at a time.
        full: requests have as many items as the host allows; else one.
        size: of an item.
    """

    outstanding: str
    full: bool
    size: str

    def __str__(self) -> str:
        """For the terminal."""
        items = "full" if self.full else "an item"
        return f"carpool, requests: {items}, outstanding: {self.outstanding}"


DEMANDS = (
    Demand(_ALONE, full=True, size="1.2 MB"),
    Demand(_CREDITS, full=False, size="3 KB"),
    Demand(_CREDITS, full=False, size="1.2 MB"),
    Demand(_CREDITS, full=True, size="1.2 MB"),
)


@dataclass
class Cell:
    """One way at one size: a client to be driven, and the processes that pay."""

    way: str | Demand
    size: str
    control: Connection
    pids: list[int]
    items: int = 1
    """Of a request."""
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)

    def run(self, requests: int) -> None:
        """Make so many requests."""
        self.control.send(requests)
        assert self.control.recv() == requests

    def measure(self, requests: int) -> None:
        """Make so many requests and note what an item cost."""
        cpu, wall = cpu_seconds(self.pids), time.perf_counter()
        self.run(requests)
        items = requests * self.items
        self.wall_ms.append(1e3 * (time.perf_counter() - wall) / items)
        self.cpu_ms.append(1e3 * (cpu_seconds(self.pids) - cpu) / items)


def _client(make: Callable[[], Ask], shape: tuple[int, int, int], control: Connection) -> None:
    """Main function of a client's process: makes as many requests as it is told to."""
    item = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ask = make()
    ask(item)
    control.send(0)
    while count := control.recv():
        for _ in range(count):
            ask(item)
        control.send(count)


def _start(target: Callable[..., None], *arguments: Any) -> int:
    process = _SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    assert process.pid is not None
    return process.pid


def _cell(
    way: str | Demand,
    size: str,
    make: Callable[[], Ask],
    shape: tuple[int, int, int],
    servers: Sequence[int] = (),
) -> Cell:
    ours, theirs = _SPAWN.Pipe()
    pid = _start(_client, make, shape, theirs)
    assert ours.recv() == 0
    return Cell(way, size, ours, [pid, *servers])


def _carpool(size: str, stack: ExitStack) -> Iterator[Cell]:
    """One host, and a client for each way; those that are not measured are silent."""
    host = stack.enter_context(serving(REFERENCE, SHAPES[size], request_items=1))
    for way, options in _SLOT_WAYS.items():
        yield _asking(host, way, size, **options)


def _demanding(demand: Demand, stack: ExitStack) -> Cell:
    settings = {} if demand.full else {"request_items": 1}
    host = stack.enter_context(serving(REFERENCE, _ALL_SHAPES[demand.size], **settings))
    cell = _asking(host, demand, demand.size, wait=demand.outstanding == _ALONE)
    if demand.full:
        cell.items = ipc_ways.items_of_a_request(host)
    return cell


def _asking(host: Serving, way: str | Demand, size: str, **options: bool) -> Cell:
    cell = _cell(way, size, partial(ipc_ways.ask_carpool, host, **options), host.shape)
    figures = ask_figures(host.socket, timeout=5.0)
    assert figures is not None
    cell.pids.append(figures["pid"])
    return cell


def _others(size: str, folder: Path) -> Iterator[Cell]:
    ways = {
        "Unix socket": (
            partial(ipc_ways.serve_socket, size=int(np.prod(SHAPES[size]))),
            ipc_ways.ask_socket,
        ),
        "pickle pipe": (ipc_ways.serve_pipe, ipc_ways.ask_pipe),
        "gRPC": (ipc_ways.serve_grpc, ipc_ways.ask_grpc),
    }
    for way, (serve, ask) in ways.items():
        address = folder / f"{way.replace(' ', '-')}-{size.split(maxsplit=1)[0]}"
        server = _start(serve, address)
        while not address.exists():
            time.sleep(0.01)
        yield _cell(way, size, partial(ask, address), SHAPES[size], [server])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.35, help="of one measurement, about")
    options = parser.parse_args()
    record = Record(
        "ipc",
        "CPU milliseconds an item: user and system time of client and host",
        {
            "shapes": SHAPES,
            "ways": WAYS,
            "repeats": options.repeats,
            "seconds": options.seconds,
            "outstanding": 1,
            "reply_bytes": len(ipc_ways.ROWS.tobytes()),
        },
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cpb")))
        cells: list[Cell] = []
        for size in SHAPES:
            cells += [*_carpool(size, stack), *_others(size, folder)]
        cells += [_demanding(demand, stack) for demand in DEMANDS]
        requests = {}
        for cell in cells:
            cell.run(20)
            begun = time.perf_counter()
            cell.run(20)
            each = (time.perf_counter() - begun) / 20
            requests[cell.way, cell.size] = max(10, min(3000, int(options.seconds / each)))
        order = random.Random(0)  # noqa: S311 - an order, no secret
        for _ in range(options.repeats):
            for cell in order.sample(cells, len(cells)):
                cell.measure(requests[cell.way, cell.size])
        for cell in cells:
            cell.control.send(0)
    rows, tasks = [], []
    for cell in cells:
        figures = {
            "size": cell.size,
            "bytes": int(np.prod(_ALL_SHAPES[cell.size])),
            "requests": requests[cell.way, cell.size],
            "cpu_ms": spread(cell.cpu_ms),
            "wall_ms": spread(cell.wall_ms),
        }
        if isinstance(cell.way, Demand):
            tasks.append({"outstanding": cell.way.outstanding, "items": cell.items} | figures)
        else:
            rows.append({"way": cell.way} | figures)
        print(f"{cell.size:8} {cell.way} {figures['cpu_ms']['median']:.3f} CPU-ms")
    record.write(rows=rows, as_tasks_send=tasks, goal=GOAL)


if __name__ == "__main__":
    main()
