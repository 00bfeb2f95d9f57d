"""How the Spark program tells whoever watches what it is doing.

The program knows nothing of terminals, files or HTTP: it calls a `Reporter`. The terminal is one;
the operator's progress endpoint is another. A reporter must return at once and never raise:
failing to report never fails the job.
"""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives a job's progress, in the unit of its work: frames."""

    def phase(self, name: str) -> None:
        """The job enters a phase: Planning, Starting, Detecting, Tracking, Finishing."""

    def indexed(self, done: int, total: int) -> None:
        """Planning has indexed `done` of `total` input files."""

    def planned(self, *, total: int, done: int, videos: int, units: int) -> None:
        """The plan is made: `total` frames, of which an earlier attempt has done `done`."""

    def advanced(self, frames: int) -> None:
        """So many more frames are committed (or quarantined)."""

    def note(self, message: str) -> None:
        """Something the user should know, one sentence."""


class Silent:
    """A reporter for callers who only want the result."""

    def phase(self, name: str) -> None:
        """Ignore."""

    def indexed(self, done: int, total: int) -> None:
        """Ignore."""

    def planned(self, *, total: int, done: int, videos: int, units: int) -> None:
        """Ignore."""

    def advanced(self, frames: int) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""
