"""`carpool sample`: renders a small sample of traffic video, with its ground truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from carpool.synth.sample import render_sample


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the clips go")
    parser.add_argument("--seed", type=int, default=7, help="another seed, other traffic (7)")
    parser.set_defaults(command=sample)


def sample(options: argparse.Namespace) -> int:
    """Render the clips that are not there yet."""
    print(f"Rendering sample clips in {options.directory}", file=sys.stderr)
    for clip in render_sample(options.directory, seed=options.seed):
        print(clip.video)
    return 0
