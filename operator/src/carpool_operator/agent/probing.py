"""Calls that may never return, each in a thread of its own, waited for so long and no longer.

A call into a driver whose GPU has failed can block for minutes, or for ever in the kernel. Its
thread is then left to itself (a daemon: it does not keep the process from ending), and what it was
asked about is not asked again until it returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

Answer = TypeVar("Answer")


class Unanswered(Exception):
    """The call did not return in time, or an earlier one about the same has not yet."""


class Probes:
    """Calls under way, by what they are about."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._under_way: set[Hashable] = set()

    @property
    def under_way(self) -> int:
        """How many calls have not returned."""
        return len(self._under_way)

    async def ask(self, about: Hashable, call: Callable[[], Answer], seconds: float) -> Answer:
        """What the call returns, or raises.

        Args:
            about: what is asked about; one call at a time.
            call: run in a thread.
            seconds: how long to wait for it.

        Raises:
            Unanswered: it did not return.
        """
        if about in self._under_way:
            raise Unanswered
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._under_way.add(about)

        def settle(answer: Answer | None, error: BaseException | None) -> None:
            self._under_way.discard(about)
            if future.done():
                return
            if error is None:
                future.set_result(answer)  # type: ignore[arg-type] # None only beside an error
            else:
                future.set_exception(error)

        def run() -> None:
            answer, failure = None, None
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - carried to whoever waits
                failure = error
            try:
                loop.call_soon_threadsafe(settle, answer, failure)
            except RuntimeError:
                return  # the process is ending, and nobody waits any more

        threading.Thread(target=run, name=f"probe-{about}", daemon=True).start()
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise Unanswered from None
