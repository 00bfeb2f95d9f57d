"""`carpool validate`: checks job files and says everything that is wrong with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from carpool.errors import SpecError
from carpool.spec import load_job


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a job file (YAML)")
    parser.set_defaults(command=validate)


def validate(options: argparse.Namespace) -> int:
    """Check each file; 0 if all are valid."""
    wrong = 0
    for path in options.files:
        try:
            job = load_job(path)
        except SpecError as error:
            wrong += 1
            print(error, file=sys.stderr)
        else:
            print(f"{path}: InferenceJob {job.metadata.name} is valid")
    return 1 if wrong else 0
