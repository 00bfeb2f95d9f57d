"""What a job's progress looks like where nobody watches: lines, in frames."""

from __future__ import annotations

import io

import pytest

from carpool.cli.terminal import LineReporter, Rate, terminal_reporter


def test_a_rate_is_unknown_until_something_was_done():
    rate = Rate()
    assert rate.per_second(now=5.0) is None
    rate.sample(now=5.0, done=0)
    assert rate.per_second(now=6.0) is None


def test_a_rate_forgets_what_is_older_than_its_window():
    rate = Rate()
    rate.sample(now=0.0, done=0)
    for second in range(1, 101):
        rate.sample(now=float(second), done=10 * second if second <= 50 else 500 + second - 50)
    assert rate.per_second(now=100.0) == pytest.approx(1.0, rel=0.1)


def test_a_stream_that_is_no_terminal_gets_lines_with_frames_and_percent():
    stream = io.StringIO()
    with terminal_reporter(stream) as reporter:
        assert isinstance(reporter, LineReporter)
        reporter.phase("Planning")
        reporter.planned(total=400, done=100, failed=0, videos=2, units=4)
        reporter.phase("Detecting")
        reporter.advanced(100)
        reporter.advanced(100)
        reporter.advanced(100)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [
        "Planning",
        "2 videos, 400 frames in 4 work units, 100 frames done before",
        "Detecting",
    ]
    # The first at once, then one every few seconds, and the last.
    assert lines[3].startswith("Detecting 200/400 frames (50 %)")
    assert lines[-1].startswith("Detecting 400/400 frames (100 %)")
    assert len(lines) == 5
