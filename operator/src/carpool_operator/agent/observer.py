"""Looks at all GPUs, and keeps the session with the driver: opens it, and opens it anew.

A session is opened anew where a GPU or the driver does not answer (one that was reset, or put back,
is seen by a new session alone, and an open one can keep it from being reset) and where a GPU has
come back, so that its errors are heard again; never while a call is under way, since shutting NVML
down under it is not safe.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from carpool_operator.agent.devices import GpuReading, Look, Silence, XidEvent
from carpool_operator.agent.nvml import Nvml
from carpool_operator.agent.probing import Probes, Unanswered
from carpool_operator.errors import DriverUnusable, GpuFailed
from carpool_operator.jitter import jittered

log = logging.getLogger(__name__)

_DRIVER: Final = "driver"
_LONGEST_REOPEN: Final = 300.0
_STOP_PATIENCE: Final = 2.0


class Observer:
    """The node's GPUs, as the driver has them."""

    def __init__(
        self,
        heard: Callable[[XidEvent], None],
        *,
        timeout: float,
        reopen: float,
        sys_folder: Path = Path("/sys"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            heard: called in the event loop with each error that the driver reports.
            timeout: seconds after which a GPU has not answered.
            reopen: seconds after which what does not answer is tried anew; grows to 5 minutes.
            sys_folder: the node's /sys.
            clock: seconds, monotonic.
        """
        self._heard = heard
        self._timeout = timeout
        self._reopen = reopen
        self._sys = sys_folder
        self._clock = clock
        self._probes = Probes()
        self._session: _Session | None = None
        self._trouble = ""
        self._attempts = 0
        self._next_attempt = 0.0
        self._most = 0
        self.other_version_since: float | None = None

    @property
    def hears_errors(self) -> bool:
        """Whether the driver's errors are listened to."""
        return self._session is not None and self._session.hears

    async def look(self) -> Look:
        """Ask the driver and every GPU; none of them makes this take longer than two timeouts."""
        now = self._clock()
        if self._session is not None and self._session.renew and now >= self._next_attempt:
            await self._close()
        if self._session is None and now < self._next_attempt:
            return Look(None, trouble=self._trouble)
        try:
            session = self._session = self._session or await self._open()
            count = await self._probes.ask(_DRIVER, session.nvml.count, self._timeout)
            found = await asyncio.gather(*(self._read(session, index) for index in range(count)))
        except DriverUnusable as error:
            self._put_off(str(error))
            if not error.other_version:
                self.other_version_since = None
            elif self.other_version_since is None:
                self.other_version_since = now
            await self._close()
            return Look(None, trouble=self._trouble)
        except Unanswered:
            return Look(None, trouble=f"NVIDIA's driver has not answered for {self._timeout:g} s")
        self._judge(session, found)
        return Look(
            driver_version=session.nvml.driver_version,
            answers=tuple(each for each in found if isinstance(each, GpuReading)),
            silent=tuple(each for each in found if isinstance(each, Silence)),
        )

    async def close(self) -> None:
        """Shut the session down, unless a call would be disturbed."""
        await self._close()

    async def _open(self) -> _Session:
        nvml = await self._probes.ask(_DRIVER, lambda: Nvml.open(self._sys), self._timeout)
        session = _Session(nvml, self._heard)
        self.other_version_since = None
        if self._trouble:
            log.info("NVIDIA's driver answers", extra={"driver": nvml.driver_version})
            self._trouble = ""
        return session

    async def _read(self, session: _Session, index: int) -> GpuReading | Silence:
        try:
            return await self._probes.ask(index, lambda: session.nvml.read(index), self._timeout)
        except GpuFailed as error:
            return Silence(error.uuid, str(error), certain=error.lost)
        except Unanswered:
            why = f"it has not answered for {self._timeout:g} s"
            return Silence(session.nvml.uuid_at(index), why, certain=False)

    def _judge(self, session: _Session, found: list[GpuReading | Silence]) -> None:
        """Decide whether the session is to be opened anew, and when."""
        self._most = max(self._most, len(found))
        silent = {index for index, each in enumerate(found) if isinstance(each, Silence)}
        came_back = session.silent - silent
        session.silent = silent
        if not silent and len(found) == self._most and session.hears:
            self._attempts = 0
        if came_back:
            session.renew, self._next_attempt = True, 0.0
        elif (silent or len(found) < self._most or session.deaf) and not session.renew:
            session.renew = True
            self._put_off(self._trouble)

    def _put_off(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("NVIDIA's driver cannot be used", extra={"error": trouble})
        self._trouble = trouble
        delay = min(self._reopen * 2**self._attempts, max(self._reopen, _LONGEST_REOPEN))
        self._attempts = min(self._attempts + 1, 16)
        self._next_attempt = self._clock() + jittered(delay)

    async def _close(self) -> None:
        session = self._session
        if session is None or self._probes.under_way or not await session.silence():
            return
        self._session = None
        try:
            await self._probes.ask(_DRIVER, session.nvml.close, self._timeout)
        except Unanswered:
            log.warning("NVIDIA's driver did not shut down in time")


class _Session:
    """An open NVML, and the thread that hears the driver's errors."""

    def __init__(self, nvml: Nvml, heard: Callable[[XidEvent], None]) -> None:
        self.nvml = nvml
        self.renew = False
        self.silent: set[int] = set()
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._watching = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="xids", daemon=True)
        self._thread.start()

    @property
    def hears(self) -> bool:
        """Whether errors are listened to."""
        return self._watching.is_set() and self._thread.is_alive()

    @property
    def deaf(self) -> bool:
        """Whether they will not be, any more."""
        return not self._thread.is_alive()

    async def silence(self) -> bool:
        """End the thread; returns whether it has ended."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, _STOP_PATIENCE)
        return not self._thread.is_alive()

    def _watch(self) -> None:
        try:
            self.nvml.watch(self._tell, self._stop, self._watching)
        except DriverUnusable as error:
            log.warning("No errors of the driver are heard", extra={"error": str(error)})

    def _tell(self, event: XidEvent) -> None:
        try:
            self._loop.call_soon_threadsafe(self._heard, event)
        except RuntimeError:
            self._stop.set()  # the process is ending
