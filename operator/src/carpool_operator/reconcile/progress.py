"""Keeps drivers' progress up to date: each running one is asked at its own times, spread at random.

The answer is kept until the next; that a driver does not answer never makes its job fail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from carpool_operator.cluster.progress import ProgressClient
from carpool_operator.domain.job.driver_report import DriverProgress, progress_of
from carpool_operator.jitter import jittered

_FIRST = 0.1
"""Share of the interval before the first question: a driver that has just begun says little."""


class ProgressPoller:
    """Asks the drivers that it is told to ask."""

    def __init__(
        self,
        client: ProgressClient,
        *,
        port: int,
        interval: float,
        answered: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask nobody yet.

        Args:
            client: to ask with.
            port: of every driver.
            interval: seconds between two questions to a driver, on average.
            answered: is called with a job's UID when there is an answer.
            clock: Unix time.
        """
        self._client = client
        self._port = port
        self._interval = interval
        self._answered = answered
        self._clock = clock
        self._tasks: dict[str, tuple[str, int, asyncio.Task[None]]] = {}
        self._latest: dict[str, DriverProgress] = {}

    def latest(self, job_uid: str) -> DriverProgress | None:
        """A driver's last answer."""
        return self._latest.get(job_uid)

    def poll(self, job_uid: str, ip: str, attempt: int) -> None:
        """Ask the driver at this address from now on."""
        known = self._tasks.get(job_uid)
        if known is not None and known[:2] == (ip, attempt):
            return
        self.stop(job_uid)
        task = asyncio.create_task(self._ask(job_uid, ip, attempt), name=f"progress {job_uid}")
        self._tasks[job_uid] = (ip, attempt, task)

    def stop(self, job_uid: str) -> None:
        """Ask no more; the last answer stands."""
        known = self._tasks.pop(job_uid, None)
        if known is not None:
            known[2].cancel()

    def forget(self, job_uid: str) -> None:
        """Ask no more and drop the last answer."""
        self.stop(job_uid)
        self._latest.pop(job_uid, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        for job_uid in list(self._tasks):
            self.stop(job_uid)
        await self._client.close()

    async def _ask(self, job_uid: str, ip: str, attempt: int) -> None:
        wait = self._interval * _FIRST
        while True:
            await asyncio.sleep(jittered(wait))
            wait = self._interval
            answer = await self._client.ask(ip, self._port)
            progress = progress_of(answer, attempt=attempt, polled=self._clock())
            if progress is not None:
                self._latest[job_uid] = progress.after(self._latest.get(job_uid))
                self._answered(job_uid)
