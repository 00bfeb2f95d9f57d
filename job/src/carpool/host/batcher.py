"""What the device gets next: one queue over all clients, cut into batches as late as possible.

Pure: no socket, no thread, no clock but the one passed in. What must stay true: every queued item
comes out in exactly one batch (or its client was dropped); a batch never exceeds `max_batch`; a
request that may have killed the host shares the device with nothing; a batch that is retried is
run as it is, before anything new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence

from carpool.host.batch_limit import BatchLimit
from carpool.host.fairness import DeficitRoundRobin, RequestQueue
from carpool.host.pacing import Pacer
from carpool.host.shapes import BatchShapes
from carpool.host.work import Batch, Part, Request


class Batcher:
    """Collects requests, gives batches.

    Attributes:
        limit: how large a batch may be at this time.
        shapes: the sizes that the device pads batches to.
        pacer: the model of device and arrivals.
    """

    def __init__(
        self,
        max_batch: int,
        *,
        depth: int = 1,
        lanes: int = 1,
        pacer: Pacer | None = None,
        queue: Callable[[], RequestQueue] = DeficitRoundRobin,
    ) -> None:
        """Start empty.

        Args:
            max_batch: most items of a batch.
            depth: batches a lane accepts at once: 1, or 2 where one is staged meanwhile.
            lanes: batches the device works on at once, each in the time of one.
            pacer: the model of device and arrivals.
            queue: makes the queue of a key.
        """
        self.shapes = BatchShapes()
        self.limit = BatchLimit(max_batch, self.shapes)
        self.pacer = pacer or Pacer()
        self._depth = depth * lanes
        self._lanes = lanes
        self._make_queue = queue
        self._queues: dict[Hashable, RequestQueue] = {}
        self._alone: deque[Part] = deque()
        self._retries: deque[Batch] = deque()
        self._running: list[Batch] = []
        self._busy_since = 0.0

    @property
    def max_batch(self) -> int:
        """Most items of a batch, at this time."""
        return self.limit.items

    @property
    def queued(self) -> int:
        """Items that wait for a batch."""
        waiting = sum(queue.items for queue in self._queues.values())
        alone = sum(part.items for part in self._alone)
        return waiting + alone + sum(batch.items for batch in self._retries)

    @property
    def running(self) -> Sequence[Batch]:
        """Batches given out and not finished, oldest first."""
        return self._running

    def learn(self, max_batch: int, shapes: BatchShapes) -> None:
        """Take what was found when the model was loaded."""
        self.shapes = shapes
        self.limit = BatchLimit(max_batch, shapes)

    def predict(self, batch: Batch) -> float:
        """Seconds that the device will take for a batch, padding included."""
        return self.pacer.cost.predict(self.shapes.padded(batch.items))

    def admit(self, client: int, window: int, now: float) -> None:
        """A client may have so many items outstanding, from now on."""
        self.pacer.arrivals.admit(client, window, now)

    def answered(self, request: Request, now: float) -> None:
        """A request is done, and its client may send as many items again."""
        self.pacer.arrivals.answered(request.client, request.items, now)

    def add(self, request: Request, now: float) -> None:
        """Queue a request."""
        self.pacer.arrivals.submitted(request.client, request.items, now)
        part = Part(request, 0, request.items)
        if request.alone:
            self._alone.append(part)
            return
        if request.key not in self._queues:
            self._queues[request.key] = self._make_queue()
        self._queues[request.key].push(part)

    def retry(self, *batches: Batch) -> None:
        """Run these as they are, before anything else."""
        self._retries.extendleft(reversed(batches))

    def drop(self, client: int) -> None:
        """Forget a client and what it has queued; what runs, runs on."""
        self.pacer.arrivals.leave(client)
        for queue in self._queues.values():
            queue.drop(client)
        self._queues = {key: queue for key, queue in self._queues.items() if queue.items}
        self._alone = deque(part for part in self._alone if part.request.client != client)
        left = (batch.without(frozenset({client})) for batch in self._retries)
        self._retries = deque(batch for batch in left if batch.parts)

    def next(self, now: float) -> Batch | float | None:
        """Cut the next batch, if this is the time.

        Args:
            now: seconds, monotonic.

        Returns:
            A batch, to be given to the device and then to `finished`; or the seconds after which
            to ask again; or None: ask again when something arrived or finished.
        """
        running = self._running
        if len(running) >= self._depth or (running and any(batch.alone for batch in running)):
            return None
        if self._retries:
            if self._retries[0].alone and self._running:
                return None
            return self._give(self._retries.popleft(), now)
        if self._alone:
            return None if self._running else self._give(self._next_alone(), now)
        return self._next_shared(now)

    def finished(self, batch: Batch, seconds: float | None, now: float) -> None:
        """A batch left the device.

        Args:
            batch: as given by `next`.
            seconds: the device's time for it, None where it failed.
            now: seconds, monotonic.
        """
        self._running.remove(batch)
        if seconds is not None:
            self.pacer.cost.observe(self.shapes.padded(batch.items), seconds)
        self._busy_since = now

    def _next_shared(self, now: float) -> Batch | float | None:
        queue = self._oldest_queue()
        if queue is None:
            return None
        wait = self._hold(queue.items, now)
        if wait is None or wait > 0:
            return wait
        # Lanes that are free share what is there: each then ends sooner.
        share = -(-queue.items // max(1, self._lanes - len(self._running)))
        items = self.shapes.fill(min(share, self.max_batch), self.pacer.cost.predict)
        return self._give(Batch(queue.take(items)), now)

    def _oldest_queue(self) -> RequestQueue | None:
        # Oldest first over the keys, so that none starves; within a key the queue decides.
        waiting = [queue for queue in self._queues.values() if queue.items]
        if len(waiting) > 1:
            return min(waiting, key=lambda queue: queue.oldest())
        return waiting[0] if waiting else None

    def _hold(self, queued: int, now: float) -> float | None:
        # More than the clients will have outstanding is not worth waiting for: nobody sends it.
        most = max(1, min(self.max_batch, self.pacer.arrivals.reach))
        if len(self._running) < self._lanes:
            return self.pacer.hold_idle(queued, most, now)
        return self.pacer.hold_busy(queued, most, self._free_at(now), now)

    def _free_at(self, now: float) -> float:
        """When the device will have finished what it works on, one batch after another."""
        first, *staged = self._running
        ends = max(now, self._busy_since + self.predict(first))
        return ends + sum(self.predict(batch) for batch in staged)

    def _next_alone(self) -> Batch:
        part = self._alone.popleft()
        if part.items > self.max_batch:
            part, rest = part.split(self.max_batch)
            self._alone.appendleft(rest)
        return Batch([part], alone=True)

    def _give(self, batch: Batch, now: float) -> Batch:
        if not self._running:
            self._busy_since = now
        self._running.append(batch)
        return batch
