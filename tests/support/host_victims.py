"""Clients that die: at a named step, or somewhere in their lives by a seed.

Run as a program, so that the victims are forks of a small process: a thousand of them take seconds.

    python -m support.host_victims FOLDER step N        print a line after step N, then wait
    python -m support.host_victims FOLDER deaths SEED COUNT      print how they ended, as JSON
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carpool.host.arena import ArenaLayout, create_arena
from carpool.host.client import Completed, HostClient, ItemFailure
from carpool.host.config import HostConfig
from carpool.host.link import Link
from carpool.host.messages import Offer, StatsRequest, Submit
from carpool.host.protocol import encode
from support.host_handlers import GATED, OUTPUT_ROWS, ROW_WIDTH, SHAPE, digest, make_items
from support.raw_client import FORMAT, RawClient

STEPS = ("connect", "HELLO", "WELCOME", "OFFER", "READY", "SUBMIT", "DONE")
"""What a client does one after another with its connection, until its first request is answered."""
_AT_ONCE = 6
_REQUESTS = 3


@dataclass(frozen=True)
class Place:
    """Where the host is, and what it serves."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "host.sock"

    @property
    def config(self) -> HostConfig:
        return HostConfig.read(self.folder / "host.json")

    def client(self) -> HostClient:
        return HostClient(
            self.socket,
            model_key=self.config.model_key,
            item_shape=SHAPE,
            output_rows=OUTPUT_ROWS,
            row_width=ROW_WIDTH,
            host_timeout=30,
        )


def pause_after(step: int) -> None:
    """Have the client say so and wait when it has taken so many steps."""
    taken = 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(link: Link, *arguments: Any) -> Any:
            nonlocal taken
            result = method(link, *arguments)
            if type(result).__name__ != "Alive":
                taken += 1
            if taken == step:
                print("here", flush=True)  # noqa: T201 - it is what the test waits for
                sys.stdin.read()
            return result

        return wrapped

    for name in ("connect", "send", "receive"):
        setattr(Link, name, counted(getattr(Link, name)))


def one_request(place: Place, *, gated: bool) -> None:
    """The life that `pause_after` cuts short."""
    client = place.client()
    slot = client.acquire()
    slot.items[:8] = make_items(8, 77)
    slot.items[0, 0, 0, 0] = GATED if gated else 1
    client.submit(slot, 8)
    list(client.drain())


def check(done: Completed) -> None:
    for rows, item in zip(done.rows, done.tag, strict=True):
        if isinstance(rows, ItemFailure) or not np.array_equal(rows, digest(item)):
            os._exit(3)


def whole_life(place: Place, rng: random.Random) -> None:
    """A task's: several requests of several sizes, results taken as they come."""
    client = place.client()
    for _ in range(_REQUESTS):
        slot = client.acquire()
        items = make_items(rng.randint(1, len(slot.items)), rng.getrandbits(32))
        slot.items[: len(items)] = items
        client.submit(slot, len(items), items)
        for done in client.completed():
            check(done)
    for done in client.drain():
        check(done)
    if rng.random() < 0.5:
        client.close()


def lines_of(life: Callable[[], None], last: int | None = None) -> int:
    """Count the lines of `carpool.host` that a life runs; at line `last` it is killed."""
    run = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal run
        if "carpool/host" not in frame.f_code.co_filename:
            return None
        if event == "line":
            run += 1
            if run == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    life()
    sys.settrace(None)
    return run


def dies_at_a_line(place: Place, rng: random.Random, lines: int) -> None:
    last = rng.randrange(1, lines + 1)
    lines_of(lambda: whole_life(place, rng), last)


def dies_at_an_instant(place: Place, rng: random.Random, seconds: float) -> None:
    """SIGALRM ends a process that knows nothing of it, wherever it is: also inside a call."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, seconds))
    whole_life(place, rng)


def dies_in_a_message(place: Place, rng: random.Random) -> None:
    """Half a packet is the last that the host hears; sometimes with the arena's descriptor."""
    client = RawClient(place.socket, place.config)
    layout = ArenaLayout(FORMAT, 2, 4)
    last: Any = client.hello
    descriptors = ()
    match rng.randrange(4):
        case 1:
            client.greet()
            last = Offer(layout.slots, layout.items, layout.size)
            _, descriptor = create_arena(layout)
            descriptors = (descriptor,) * rng.randrange(2)
        case 2:
            client.offer()
            last = StatsRequest()
        case 3:
            client.shake_hands()
            client.say(Submit(0, 0, 3, 0))
            last = Submit(1, 1, 3, 0)
    packet = encode(last)
    client.say(packet[: rng.randrange(len(packet))], *descriptors)
    os.kill(os.getpid(), signal.SIGKILL)


def fork(life: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 2
        try:
            life()
            code = 0
        finally:
            os._exit(code)
    return child


def deaths(place: Place, seed: int, count: int) -> dict[str, int]:
    """Let so many victims live and die, a few at once; gives how they ended."""
    begun = time.monotonic()
    whole_life(place, random.Random(seed))
    seconds = 2 * (time.monotonic() - begun)
    lines = lines_of(lambda: whole_life(place, random.Random(seed)))

    def live(number: int) -> None:
        rng = random.Random(number)
        kind = rng.randrange(5)
        if kind < 2:
            dies_at_a_line(place, rng, lines)
        elif kind < 4:
            dies_at_an_instant(place, rng, seconds)
        else:
            dies_in_a_message(place, rng)

    ended: Counter[str] = Counter()
    alive = 0
    for number in range(seed, seed + count):
        fork(lambda number=number: live(number))  # type: ignore[misc]  # bound in the loop
        alive += 1
        while alive >= _AT_ONCE or (alive and number == seed + count - 1):
            _, status = os.wait()
            ended[str(os.waitstatus_to_exitcode(status))] += 1
            alive -= 1
    return ended


if __name__ == "__main__":
    where = Place(Path(sys.argv[1]))
    if sys.argv[2] == "step":
        pause_after(int(sys.argv[3]))
        one_request(where, gated="gated" in sys.argv)
    else:
        print(json.dumps(deaths(where, int(sys.argv[3]), int(sys.argv[4]))))  # noqa: T201 - the result
