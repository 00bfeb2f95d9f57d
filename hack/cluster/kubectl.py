"""kubectl against the test cluster, and against no other."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from go_tools import kubernetes
from progress import attempt, run
from settings import KUBECONFIG


@cache
def command() -> tuple[str | Path, ...]:
    """The command line up to the verb."""
    return (kubernetes("kubectl") / "kubectl", "--kubeconfig", KUBECONFIG)


def kubectl(*words: str | Path, given: str | None = None) -> str:
    """Run kubectl and give what it prints.

    Raises:
        Failed: it failed.
    """
    return run(*command(), *words, given=given)


def answers() -> bool:
    """Whether the cluster's API server is ready."""
    words = ("get", "--raw", "/readyz", "--request-timeout=5s")
    return KUBECONFIG.exists() and attempt(*command(), *words).returncode == 0
