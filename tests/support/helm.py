"""Helm, and the chart as the API server would get it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "carpool"


@cache
def helm_command() -> str:
    """Where helm is."""
    command = [sys.executable, str(ROOT / "hack" / "cluster"), "helm"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at its exit status."""
    command = [helm_command(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(
    values: dict[str, Any] | None = None, *, release: str = "carpool", namespace: str = "carpool"
) -> list[dict[str, Any]]:
    """The objects of a release."""
    options = [f"--set-json={key}={json.dumps(value)}" for key, value in (values or {}).items()]
    done = helm("template", release, str(CHART), f"--namespace={namespace}", *options)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of a kind."""
    return [found for found in objects if found["kind"] == kind]
