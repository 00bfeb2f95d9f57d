"""Client processes that ask a host for as long as they are let, and write down every answer."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.host.hosts import Serving

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as its client saw it; all requests have one item.

    Attributes:
        done: when the rows were there, seconds, monotonic.
        latency: seconds since the request was sent.
        queued: seconds of them between its arrival in the host and its batch, as the host says.
        batch_items: size of its batch.
    """

    done: float
    latency: float
    queued: float
    batch_items: int


def answers(
    host: Serving, clients: int, seconds: float, *, greedy: bool
) -> tuple[float, list[list[Answer]]]:
    """Run clients side by side for so long.

    Args:
        host: of the simulated device.
        clients: processes.
        seconds: from the moment in which all are connected.
        greedy: whether a client has as much outstanding as the host allows, as a task that decodes
            faster than the device infers; else it waits for each answer before it asks again.

    Returns:
        When it ended, and each client's answers in the order of their arrival.
    """
    running = []
    for _ in range(clients):
        ours, theirs = _FORK.Pipe()
        # Forked, since 16 processes that import numpy at once would be all that is measured.
        process = _FORK.Process(target=_client, args=(host, greedy, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    for _, control in running:
        control.recv()
    end = time.monotonic() + seconds
    for _, control in running:
        control.send(end)
    found: list[list[Answer]] = [
        [Answer(*each) for each in control.recv()] for _, control in running
    ]
    for process, control in running:
        process.join()
        control.close()
    return end, found


def _client(host: Serving, greedy: bool, control: Connection) -> None:
    seen: list[tuple[float, float, float, int]] = []
    with host.client() as client:
        client.release(client.acquire())
        control.send("connected")
        end = control.recv()
        while (now := time.monotonic()) < end:
            slot = client.acquire()
            client.submit(slot, 1, time.monotonic())
            for done in client.completed() if greedy else client.drain():
                now = time.monotonic()
                timing = done.timing
                seen.append((now, now - done.tag, timing.queued, timing.batch_items))
        for _ in client.drain():
            pass
    control.send(seen)


def within(found: Sequence[Answer], begin: float, end: float) -> list[Answer]:
    """The answers that came in [begin, end)."""
    return [answer for answer in found if begin <= answer.done < end]
