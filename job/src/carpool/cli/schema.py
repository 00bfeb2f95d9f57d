"""`carpool schema`: prints the JSON schema of InferenceJob."""

from __future__ import annotations

import argparse
import json

from carpool.spec import json_schema


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.description = (
        "Print the JSON schema of InferenceJob. In an editor with the YAML language server, put "
        "`# yaml-language-server: $schema=FILE` at the top of a job file."
    )
    parser.set_defaults(command=schema)


def schema(_: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2))
    return 0
