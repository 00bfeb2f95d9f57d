"""`carpool run`: runs an InferenceJob on this machine: local Spark, one shared model host."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from carpool.cli.terminal import terminal_reporter
from carpool.spark.program import run_job
from carpool.spark.result import JobResult
from carpool.spec import load_job

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODES = {"Succeeded": 0, "PartiallySucceeded": 2, "Failed": 1}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.description = (
        "Run an InferenceJob on this machine. Interrupted or killed, run it again: what is "
        "committed is not done twice. Exit code 0: Succeeded, 2: PartiallySucceeded (some input "
        "is in quarantine), 1: Failed, 130: interrupted."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the job file (YAML)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="override a field below spec, e.g. --set spark.executor.cores=4 (repeatable)",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        help="what ends the output: a table, or one JSON object as the last line (table)",
    )
    parser.add_argument(
        "--retry-quarantined",
        action="store_true",
        help="try again what an earlier run put into quarantine",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the job and show its result."""
    end_on_signals()
    job = load_job(options.file, overrides=options.set)
    with terminal_reporter() as reporter:
        try:
            result = run_job(job, reporter, retry_quarantined=options.retry_quarantined)
        except KeyboardInterrupt:
            reporter.note("Interrupted; run the same command again to continue")
            raise
    if result.phase == "Failed":
        print(f"carpool: {result.reason}: {result.message}", file=sys.stderr)
    if options.output == "json":
        print(json.dumps(result.as_json()))
    elif result.phase != "Failed":
        Console().print(_table(result))
    return EXIT_CODES[result.phase]


def end_on_signals() -> None:
    """Turn the signals that end a process into KeyboardInterrupt, so that nothing is left."""
    for ending in _ENDINGS:
        signal.signal(ending, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Begin to end, once: a second signal must not tear apart what ends the processes."""
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def _table(result: JobResult) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (
        ("phase", result.phase),
        ("frames", f"{result.frames:,}"),
        ("seconds", f"{result.seconds:,.1f}"),
        ("frames/s", f"{result.fps:,.1f}"),
        ("model copies", str(result.model_copies)),
        ("detections", f"{result.detections:,}"),
        ("tracks", f"{result.tracks:,}"),
        ("quarantined", f"{result.quarantined:,}"),
        ("output", result.output),
    ):
        table.add_row(name, value)
    return table
