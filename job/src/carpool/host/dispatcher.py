"""Between sessions and device: gives the device batches, and their outcomes to the clients.

Runs in the event loop's thread. What must stay true: each item of a request is answered exactly
once, by rows or by a failure; only a failing item's own request hears of its failure; the arena of
a client that left is kept until the device is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from carpool.errors import HandlerError
from carpool.host.backends.base import DeviceLost, LoadReport, OutOfMemory
from carpool.host.batcher import Batcher
from carpool.host.config import HostConfig
from carpool.host.counters import Counters
from carpool.host.launcher import Launcher, Outcome
from carpool.host.memory import MemoryUse
from carpool.host.messages import FailureCode, Submit
from carpool.host.record_handler import UserCodeError
from carpool.host.session import Session
from carpool.host.work import Batch, Part, Request

_HANG_FACTOR = 20
"""A batch has hung if it takes so many times what was predicted for it, and very long at that."""


class Hung(Exception):
    """The device has been working on one batch for too long."""


class Dispatcher:
    """The batcher's hands."""

    def __init__(
        self,
        config: HostConfig,
        launcher: Launcher,
        batcher: Batcher,
        sessions: Mapping[int, Session],
        forget: Callable[[Session], None],
    ) -> None:
        """Take everything.

        Args:
            config: of the host.
            launcher: loaded before the first `dispatch`.
            batcher: empty.
            sessions: by number, kept by the server; also closed ones that are still on the device.
            forget: called for a closed session when the device is done with it.
        """
        self._config = config
        self._launcher = launcher
        self._batcher = batcher
        self._sessions = sessions
        self._forget = forget
        # Of a request of records nothing is of use once one item has failed: its task fails.
        self._all_or_nothing = config.backend == "records"
        self._apart = "shared_batches" in config.without
        self._counters = Counters()
        self._memory = MemoryUse()
        self._given_at: dict[Batch, float] = {}

    @property
    def max_batch(self) -> int:
        """Most items of a batch while memory does not run out."""
        return self._batcher.limit.most

    @property
    def credits(self) -> int:
        """Items that the connected clients may have outstanding together."""
        return self._batcher.pacer.arrivals.window

    @property
    def busy(self) -> bool:
        """Whether items wait or are on the device."""
        return bool(self._given_at) or self._batcher.queued > 0

    def greeted(self) -> None:
        """Count a client."""
        self._counters.clients_served += 1

    def learn(self, report: LoadReport) -> None:
        """Take what the warm-up found."""
        self._batcher.learn(report.max_batch, report.shapes)
        self._memory = report.memory
        for items, seconds in report.timings:
            self._batcher.pacer.cost.anchor(items, seconds)

    def admit(self, session: Session, now: float) -> None:
        """A client has got its credits, or other ones."""
        self._batcher.admit(session.number, session.credits, now)

    def accept(self, session: Session, submit: Submit, now: float) -> None:
        """Queue a request.

        Raises:
            ProtocolError: it does not fit the client's arena.
        """
        request = session.accept(submit, now)
        if self._apart:
            request.key = session.number
        self._batcher.add(request, now)

    def drop(self, session: Session) -> None:
        """Forget what a closed session has queued, and the session if the device has none of it."""
        self._batcher.drop(session.number)
        if not session.on_device:
            self._forget(session)

    def dispatch(self, now: float) -> float | None:
        """Give the device what it has room for.

        Returns:
            Seconds until it is worth another try without anything having happened; None for never.
        """
        while True:
            batch = self._batcher.next(now)
            if not isinstance(batch, Batch):
                return batch
            if self._all_or_nothing and self._answered_without_running(batch, now):
                continue
            parts = [self._sessions[part.request.client].begin(part, now) for part in batch.parts]
            self._given_at[batch] = now
            self._launcher.submit(batch, parts)

    def settle(self, outcome: Outcome, now: float) -> None:
        """Answer what a batch completes, or split it to find what made it fail.

        Raises:
            DeviceLost: the outcome says so.
        """
        batch, error = outcome.batch, outcome.error
        if isinstance(error, DeviceLost):
            raise error
        del self._given_at[batch]
        self._batcher.finished(batch, outcome.seconds if error is None else None, now)
        self._counters.out_of_memory += isinstance(error, OutOfMemory)
        if error is None:
            self._batcher.limit.succeeded(batch.items)
            self._counters.batch(batch.items, outcome.seconds, outcome.phases)
        elif batch.items > 1 and not isinstance(error, HandlerError):
            self._split(batch, error)
            return
        first, heard = 0, set[Session]()
        for part in batch.parts:
            request, items = part.request, part.items
            session = self._sessions[request.client]
            if not session.closed:
                if outcome.rows is not None:
                    session.store(part, outcome.rows[first : first + items])
                else:
                    session.fail(part, _code(error), _text(error))
                request.executed += outcome.seconds
                request.batch_items = max(request.batch_items, batch.items)
                if not request.unanswered:
                    self._answer(session, request, now)
                    heard.add(session)
            first += items
            self._take_off(session, part)
        # All at once: each message costs a packet, and a turn of the client's.
        for session in heard:
            session.tell()

    def check_device(self, now: float) -> None:
        """Look whether the device still answers.

        Raises:
            Hung: one batch takes far longer than predicted.
        """
        for batch, given in self._given_at.items():
            predicted = self._batcher.predict(batch)
            limit = max(self._config.watchdog_seconds, _HANG_FACTOR * predicted)
            if now - given > limit:
                raise Hung(f"a batch of {batch.items} items has run for {now - given:.1f} s")

    def figures(self) -> dict[str, Any]:
        """What was counted, and the model of the device's time."""
        cost = self._batcher.pacer.cost
        return {
            "max_batch": self._batcher.max_batch,
            "largest_batch": self._batcher.limit.most,
            "queued": self._batcher.queued,
            "running": sum(batch.items for batch in self._batcher.running),
            "batch_base_ms": round(cost.base * 1e3, 3),
            "batch_item_ms": round(cost.per_item * 1e3, 3),
            "device_memory": asdict(self._memory),
            **self._counters.figures(),
        }

    def _split(self, batch: Batch, error: Exception, /) -> None:
        """Run both halves of a batch that failed, without the parts of clients that left."""
        if isinstance(error, OutOfMemory) and not self._config.deterministic:
            self._batcher.limit.ran_out(batch.items)
        self._counters.splits += 1
        sessions = {self._sessions[part.request.client] for part in batch.parts}
        gone = frozenset(session.number for session in sessions if session.closed)
        halves = (half.without(gone) for half in batch.halves())
        self._batcher.retry(*(half for half in halves if half.parts))
        for part in batch.parts:
            self._take_off(self._sessions[part.request.client], part)

    def _answered_without_running(self, batch: Batch, now: float) -> bool:
        """Fail what is left of requests that have failed; whether there was any.

        Otherwise a function that raises for every item would be called for each of them.
        """
        failed = [part for part in batch.parts if part.request.failed]
        if not failed:
            return False
        self._batcher.finished(batch, None, now)
        rest = [part for part in batch.parts if not part.request.failed]
        if rest:
            self._batcher.retry(Batch(rest, batch.alone))
        for part in failed:
            session, request = self._sessions[part.request.client], part.request
            if not session.closed:
                session.fail(part, request.failed[0].code, request.failed[0].text)
                if not request.unanswered:
                    self._answer(session, request, now)
                    session.tell()
        return True

    def _take_off(self, session: Session, part: Part) -> None:
        session.take_off(part)
        if session.closed and not session.on_device:
            self._forget(session)

    def _answer(self, session: Session, request: Request, now: float) -> None:
        self._counters.request(request)
        session.answer(request)
        self._batcher.answered(request, now)


def _text(error: Exception | None) -> str:
    if isinstance(error, HandlerError | UserCodeError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _code(error: Exception | None) -> FailureCode:
    if isinstance(error, HandlerError):
        return FailureCode.HANDLER
    return FailureCode.MEMORY if isinstance(error, OutOfMemory) else FailureCode.INFERENCE
