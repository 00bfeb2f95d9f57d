"""Reads a cluster through kubectl, by which a user has kubeconfig, contexts and logins already."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from carpool.errors import ClusterRefused, ClusterUnavailable

_TIMEOUT = 60.0


def read_objects(options: Sequence[str], *words: str) -> list[dict[str, Any]]:
    """The objects that `kubectl get WORDS -o json` gives.

    Args:
        options: of every command, such as --context.
        words: what to get.

    Raises:
        ClusterUnavailable: there is no kubectl, or no answer.
        ClusterRefused: the user may not see them, or the cluster does not know them.
    """
    command = ["kubectl", *options, "get", *words, "--output=json"]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own kubectl, no shell
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except FileNotFoundError:
        raise ClusterUnavailable("there is no kubectl on PATH; install it") from None
    except subprocess.TimeoutExpired:
        raise ClusterUnavailable(f"kubectl did not answer for {_TIMEOUT:.0f} s") from None
    shown = f"kubectl get {' '.join(words)}"
    if done.returncode != 0:
        said = done.stderr.strip()
        if "Forbidden" in said or "NotFound" in said or "doesn't have a resource type" in said:
            raise ClusterRefused(f"{shown}: {said}")
        raise ClusterUnavailable(f"{shown}: {said}")
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    except (ValueError, KeyError) as error:
        raise ClusterUnavailable(f"{shown}: no list of objects: {done.stdout[:200]}") from error
    return found
