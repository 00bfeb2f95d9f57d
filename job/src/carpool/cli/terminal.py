"""Progress on the terminal: a bar where someone watches, plain lines where a log is written.

Both go to standard error, so that standard output holds the result alone. The unit is frames. Rate
and time left are taken over the last half minute, and left out until they mean something.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Collection
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from carpool.spark.reporter import Reporter, Setback

RATE_WINDOW_SECONDS = 30.0
PLAIN_INTERVAL_SECONDS = 5.0


def terminal_reporter(stream: TextIO | None = None) -> TerminalReporter:
    """The reporter that suits `stream`: a bar on a terminal, lines in a file or a pipe.

    By default that is standard error, as it is at the time of the call.
    """
    if stream is None:
        stream = sys.stderr
    return BarReporter(stream) if stream.isatty() else LineReporter(stream)


class Rate:
    """Frames a second over the last `RATE_WINDOW_SECONDS`."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, done: int) -> None:
        """Note that `done` frames were done at `now` (seconds of a monotonic clock)."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] > RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def per_second(self, now: float) -> float | None:
        """The rate, or None while nothing was done."""
        if not self._samples:
            return None
        then, before = self._samples[0]
        _, done = self._samples[-1]
        return (done - before) / (now - then) if done > before and now > then else None


class TerminalReporter(Reporter):
    """What bar and lines have in common: counting, rate and time left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phase = ""
        self._total = 0
        self._done = 0
        self._executors = 0
        self._rate = Rate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back; the bar overrides this."""

    def phase(self, name: str) -> None:
        """Show the phase; the rate counts from the beginning of detection."""
        self._phase = name
        if name == "Detecting":
            self._rate = Rate()
            self._rate.sample(time.monotonic(), self._done)

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """Show the size of the job."""
        self._total, self._done = total, done
        lost = f" ({failed:,} of them in quarantine)" if failed else ""
        resumed = f", {done:,} frames done before{lost}" if done else ""
        self.note(f"{videos:,} videos, {total:,} frames in {units:,} work units{resumed}")

    def executors(self, registered: Collection[str]) -> None:
        """Say how many take tasks, when it changes."""
        if len(registered) != self._executors:
            self._executors = len(registered)
            self.note(f"{self._executors} executors have registered")

    def advanced(self, frames: int) -> None:
        """Count frames."""
        self._done += frames
        self._rate.sample(time.monotonic(), self._done)

    def quarantined(self, setback: Setback) -> None:
        """Say why, and count its frames: they are done with."""
        self.note(f"Quarantined: {setback.message}")
        if setback.frames:
            self.advanced(setback.frames)

    def progress_text(self) -> str:
        """Rate and time left, as far as they are known: `92 frames/s, 0:05 left`."""
        rate = self._rate.per_second(time.monotonic())
        if rate is None:
            return ""
        left = max(0, self._total - self._done) / rate
        return f"{rate:,.0f} frames/s, {_clock(left)} left"


class BarReporter(TerminalReporter):
    """A bar in frames with rate and time left."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._console = Console(file=stream)
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            _ProgressText(self),
            console=self._console,
            expand=True,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        """Name the phase beside the bar."""
        super().phase(name)
        if self._task is not None:
            self._progress.update(self._task, description=name)

    def indexed(self, done: int, total: int) -> None:
        """Show planning as a bar of its own, in files."""
        self._show(done, total, "files")

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """Turn the bar to frames."""
        super().planned(total=total, done=done, failed=failed, videos=videos, units=units)
        self._show(done, total, "frames")

    def advanced(self, frames: int) -> None:
        """Move the bar."""
        super().advanced(frames)
        self._show(self._done, self._total, "frames")

    def note(self, message: str) -> None:
        """Print above the bar."""
        self._progress.console.print(message, highlight=False, markup=False)

    def _show(self, done: int, total: int, unit: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(self._phase, total=total, unit=unit)
        self._progress.update(self._task, completed=done, total=total, unit=unit)


class LineReporter(TerminalReporter):
    """A line when the phase changes, and one every few seconds while frames are being done."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._next_line = 0.0

    def phase(self, name: str) -> None:
        """Write the phase."""
        super().phase(name)
        self._next_line = 0.0
        self.note(name)

    def indexed(self, done: int, total: int) -> None:
        """Write how far planning is, now and then."""
        self._line(f"{self._phase} {done:,}/{total:,} files", last=done == total and total > 100)

    def advanced(self, frames: int) -> None:
        """Write how far the job is, now and then, and at its end."""
        super().advanced(frames)
        percent = 100 * self._done // max(1, self._total)
        text = self.progress_text()
        self._line(
            f"{self._phase} {self._done:,}/{self._total:,} frames ({percent} %)"
            + (f", {text}" if text else ""),
            last=self._done >= self._total,
        )

    def note(self, message: str) -> None:
        """Write a line."""
        print(message, file=self._stream, flush=True)

    def _line(self, text: str, *, last: bool) -> None:
        now = time.monotonic()
        if last or now >= self._next_line:
            self._next_line = now + PLAIN_INTERVAL_SECONDS
            self.note(text)


class _ProgressText(ProgressColumn):
    def __init__(self, reporter: TerminalReporter) -> None:
        super().__init__()
        self._reporter = reporter

    def render(self, task: Task) -> Text:
        """Rate and time left, beside the bar of frames only."""
        return Text(self._reporter.progress_text() if task.fields.get("unit") == "frames" else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
