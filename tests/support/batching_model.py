"""Clients, batcher and a device in virtual time: how good the batches are, exactly and at once.

The batcher and its pacer are the real ones. Each client prepares a request for a while (decoding),
submits it, and goes on as long as its credits allow, as a Spark task does. The device takes
base + per_item · n for a batch and accepts `depth` of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from carpool.host.batcher import Batcher
from carpool.host.credits import RequestShape, grant_credits
from carpool.host.work import Batch, Request


@dataclass(frozen=True)
class Device:
    base: float
    per_item: float
    depth: int = 2

    def seconds(self, items: int) -> float:
        return self.base + self.per_item * items


@dataclass(frozen=True)
class Client:
    """`items` of a request, `prepare` seconds for each, `slots` of its arena.

    It has no more than `requests` outstanding, whatever its credits allow.
    """

    items: int
    prepare: float
    slots: int = 4
    requests: int = 64


@dataclass
class Outcome:
    """What happened between `warm` and the end.

    Attributes:
        seconds: of virtual time.
        batches: sizes.
        waits: of each client's requests, the batches that were cut from submission until the
            first that had an item of it.
        items: answered, of each client.
    """

    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)
    waits: list[list[int]] = field(default_factory=list)
    items: list[int] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        return sum(self.items) / self.seconds

    @property
    def mean_batch(self) -> float:
        return sum(self.batches) / len(self.batches)


def run(device: Device, clients: list[Client], max_batch: int, *, seconds: float) -> Outcome:
    """Let them work; the first fifth of the time is not counted."""
    return _World(device, clients, max_batch).run(seconds)


class _World:
    def __init__(self, device: Device, clients: list[Client], max_batch: int) -> None:
        self._device = device
        self._clients = clients
        self._batcher = Batcher(max_batch, depth=device.depth)
        for size in {1, max_batch}:
            self._batcher.pacer.cost.anchor(size, device.seconds(size))
        shapes = {n: RequestShape(c.slots, c.items) for n, c in enumerate(clients)}
        self._credits = grant_credits(max_batch, shapes)
        self._outstanding = dict.fromkeys(self._credits, 0)
        self._preparing = dict.fromkeys(self._credits, False)
        self._cut = 0
        self._submitted_at_cut: dict[Request, int] = {}
        self._events: list[tuple[float, int, str, object]] = []
        self._order = count()
        self._numbers = count()
        self._free_at = 0.0
        self._outcome = Outcome(waits=[[] for _ in clients], items=[0] * len(clients))

    def run(self, seconds: float) -> Outcome:
        for number, window in self._credits.items():
            self._batcher.admit(number, window, 0.0)
            self._prepare(number, 0.0)
        warm = seconds / 5
        for now, kind, subject in self._until(seconds):
            counting = now >= warm
            if kind == "submit":
                assert isinstance(subject, int)
                self._submit(subject, now)
            elif kind == "finish":
                assert isinstance(subject, Batch)
                self._finish(subject, now, counting)
            self._dispatch(now, counting)
        self._outcome.seconds = seconds - warm
        return self._outcome

    def _until(self, seconds: float) -> Iterator[tuple[float, str, object]]:
        while self._events and self._events[0][0] <= seconds:
            now, _, kind, subject = heapq.heappop(self._events)
            yield now, kind, subject

    def _at(self, when: float, kind: str, subject: object = None) -> None:
        heapq.heappush(self._events, (when, next(self._order), kind, subject))

    def _prepare(self, number: int, now: float) -> None:
        client = self._clients[number]
        if self._preparing[number]:
            return
        most = min(self._credits[number], client.requests * client.items)
        if self._outstanding[number] + client.items > most:
            return
        self._preparing[number] = True
        self._at(now + client.prepare * client.items, "submit", number)

    def _submit(self, number: int, now: float) -> None:
        items = self._clients[number].items
        request = Request(number, next(self._numbers), slot=0, items=items, deaths=0, arrived=now)
        self._preparing[number] = False
        self._outstanding[number] += items
        self._submitted_at_cut[request] = self._cut
        self._batcher.add(request, now)
        self._prepare(number, now)

    def _dispatch(self, now: float, counting: bool) -> None:
        while True:
            found = self._batcher.next(now)
            if not isinstance(found, Batch):
                if found is not None:
                    self._at(now + found, "ask")
                return
            self._cut += 1
            for request in found.requests():
                at = self._submitted_at_cut.pop(request, None)
                if counting and at is not None:
                    self._outcome.waits[request.client].append(self._cut - at)
            self._free_at = max(self._free_at, now) + self._device.seconds(found.items)
            self._at(self._free_at, "finish", found)

    def _finish(self, batch: Batch, now: float, counting: bool) -> None:
        self._batcher.finished(batch, self._device.seconds(batch.items), now)
        if counting:
            self._outcome.batches.append(batch.items)
        for part in batch.parts:
            client = part.request.client
            part.request.unanswered -= part.items
            if counting:
                self._outcome.items[client] += part.items
            if not part.request.unanswered:
                self._outstanding[client] -= part.request.items
                self._batcher.answered(part.request, now)
                self._prepare(client, now)
