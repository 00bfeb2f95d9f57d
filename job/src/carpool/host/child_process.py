"""One life of the process that computes, as its parent sees it: what it reports, how it is ended.

What must stay true: nothing that the child has started outlives it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from carpool.host.process import describe_end
from carpool.host.termination import Termination

_TERM_SECONDS = 1.0
"""The child gets so long between a signal that asks it to end and SIGKILL."""


class ChildProcess:
    """A child in a process group of its own, not waited for as long as this is in use.

    Attributes:
        pid: its process id, and its group's.
        pipe: non-blocking descriptor of its reports.
        ready_at: when it said that the model is loaded, seconds, monotonic; None before.
        alive_at: when it last said anything; None before its first word.
        failed: its last words, if it had any.
        without: what the next child should leave out, as these say; None for nothing.
    """

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self.ready_at: float | None = None
        self.alive_at: float | None = None
        self.failed: Termination | None = None
        self.without: str | None = None
        self._unread = b""

    def read(self) -> bool:
        """Read what the child reports; False at end of file."""
        try:
            found = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        *lines, self._unread = (self._unread + found).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))
        return bool(found)

    def end(self, number: signal.Signals) -> None:
        """Ask it to end, and make it if it does not; it is still to be waited for."""
        os.kill(self.pid, number)
        handle = os.pidfd_open(self.pid)
        if not select.select([handle], [], [], _TERM_SECONDS)[0]:
            os.kill(self.pid, signal.SIGKILL)
        os.close(handle)

    def end_group(self) -> None:
        """End what it has started and left behind: it would keep device, lock and socket.

        To be called before the child is waited for, so that its number is nobody else's.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_words(self, status: int) -> Termination:
        """Why it ended: what it said itself, else its wait status and the end of the log."""
        return self.failed or Termination(
            "HostCrashed", f"the host was {describe_end(status)}", _log_tail()
        )

    def _hear(self, said: dict[str, Any]) -> None:
        self.alive_at = time.monotonic()
        if "ready" in said:
            self.ready_at = time.monotonic()
        if "failed" in said:
            self.failed = Termination(**said["failed"])
            self.without = said.get("without")


def _log_tail(size: int = 1500) -> str:
    """The end of this process's log, if it goes to a file."""
    try:
        with Path("/proc/self/fd/2").open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
