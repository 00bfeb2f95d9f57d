"""How the Spark program tells whoever watches what it is doing.

The program knows nothing of terminals, files or HTTP: it calls a `Reporter`. The terminal is one;
what a driver pod tells the operator is another (`driver_status`). A reporter must return at once
and never raise: failing to report never fails the job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setback:
    """A piece of input that went into quarantine.

    Attributes:
        reason: CamelCase.
        message: one sentence.
        location: URI of the file.
        frames: that have no result because of it.
    """

    reason: str
    message: str
    location: str
    frames: int


class Reporter:
    """Receives a job's progress, in the unit of its work: frames. This one ignores it."""

    def phase(self, name: str) -> None:
        """The job enters a phase: Planning, Starting, Detecting, Tracking, Finishing."""

    def indexed(self, done: int, total: int) -> None:
        """Planning has indexed `done` of `total` input files."""

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """The plan is made: `total` frames, of which an earlier attempt has ended `done`.

        `failed` of those have no result: they are in quarantine.
        """

    def executors(self, registered: Collection[str]) -> None:
        """Ids of the executors that are registered with the driver now and take tasks.

        A local run has none apart from the driver.
        """

    def advanced(self, frames: int) -> None:
        """So many more frames are committed."""

    def quarantined(self, setback: Setback) -> None:
        """A piece of input has no result, and the job goes on."""

    def served(self, executor: str, host: Mapping[str, Any]) -> None:
        """Figures of an executor's model host, as it answered last (`carpool.host.counters`)."""

    def note(self, message: str) -> None:
        """Something the user should know, one sentence."""


class Reporters(Reporter):
    """Several reporters as one."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def phase(self, name: str) -> None:
        """Tell all."""
        for each in self._reporters:
            each.phase(name)

    def indexed(self, done: int, total: int) -> None:
        """Tell all."""
        for each in self._reporters:
            each.indexed(done, total)

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """Tell all."""
        for each in self._reporters:
            each.planned(total=total, done=done, failed=failed, videos=videos, units=units)

    def executors(self, registered: Collection[str]) -> None:
        """Tell all."""
        for each in self._reporters:
            each.executors(registered)

    def advanced(self, frames: int) -> None:
        """Tell all."""
        for each in self._reporters:
            each.advanced(frames)

    def quarantined(self, setback: Setback) -> None:
        """Tell all."""
        for each in self._reporters:
            each.quarantined(setback)

    def served(self, executor: str, host: Mapping[str, Any]) -> None:
        """Tell all."""
        for each in self._reporters:
            each.served(executor, host)

    def note(self, message: str) -> None:
        """Tell all."""
        for each in self._reporters:
            each.note(message)
