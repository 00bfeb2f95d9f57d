"""Job documents for tests: the smallest one, and changes to it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

_SMALLEST: dict[str, Any] = {
    "apiVersion": "carpool.dev/v1alpha1",
    "kind": "InferenceJob",
    "metadata": {"name": "smallest"},
    "spec": {
        "model": {"format": "Darknet", "uri": "model.cfg"},
        "input": {"uris": ["clip.mp4"]},
        "output": {"uri": "results"},
    },
}

REMOVED = object()
"""As a value in `job_document`: the field is removed."""


def job_document(**changes: Any) -> dict[str, Any]:
    """The smallest valid job as plain data, with fields changed.

    Args:
        changes: path, with two underscores between the names, to new value:
            `spec__model__uri="a.cfg"`.
    """
    document = deepcopy(_SMALLEST)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for name in parents:
            place = place.setdefault(name, {})
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return document
