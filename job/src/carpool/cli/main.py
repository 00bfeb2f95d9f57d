"""Entry point of `carpool`: parses the command line and turns errors into exit codes.

Exit codes: 0 done (Succeeded), 2 PartiallySucceeded, 1 failed (also a wrong command line), 130 when
interrupted. Subcommands are imported when they are called, so that `carpool validate` needs nothing
but the light base of the distribution.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from carpool import __version__
from carpool.errors import CarpoolError

FAILED = 1
INTERRUPTED = 130

SUBCOMMANDS = {
    "run": "run an InferenceJob on this machine",
    "drive": "drive an InferenceJob inside a Kubernetes cluster",
    "validate": "check job files",
    "schema": "print the JSON schema of InferenceJob, for editors",
    "results": "show what a job wrote",
    "sample": "render a small sample of traffic video",
    "gpus": "show the GPUs of a cluster and the executors on them",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `carpool` and give its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # FFmpeg and OpenCV complain about damaged files straight to the terminal; what is wrong with a
    # file is said once, in our words, in the quarantine.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        options = _parser(given).parse_args(given)
        return int(options.command(options))
    except CarpoolError as error:
        print(f"carpool: {error.reason}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("carpool"):
            raise
        print(
            f"carpool: this command needs the package {error.name}; "
            "install carpool[runtime] (and carpool[torch] for torch models)",
            file=sys.stderr,
        )
        return FAILED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors exit with 1: 2 says PartiallySucceeded here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="carpool",
        description="Batch DNN inference on Spark: many tasks, one model.",
        epilog="`carpool COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"carpool {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    named = next((word for word in given if not word.startswith("-")), None)
    for name, purpose in SUBCOMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        if name == named:
            import_module(f"carpool.cli.{name}").configure(command)
    return parser
