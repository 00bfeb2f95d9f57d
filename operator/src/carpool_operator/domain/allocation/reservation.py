"""A reservation as text on a driver pod, from which a restarted operator has it again.

A JSON list with an entry for each executor: `[{"node": "gpu-1", "gpu": "GPU-…"}, …]`; on CPUs
without `gpu`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from sys import intern

from carpool_operator.domain.cluster_state import Slot

LONGEST_RESERVATION = 200_000
"""Characters. The API server takes 256 KiB of annotations on an object, of all together."""


def reservation_annotation(slots: Iterable[Slot]) -> str:
    """The value of the annotation `names.RESERVATION_ANNOTATION`."""
    entries = (
        {"node": slot.node} if slot.gpu is None else {"node": slot.node, "gpu": slot.gpu}
        for slot in slots
    )
    return json.dumps(list(entries), separators=(",", ":"))


def reserved_slots(text: str | None) -> tuple[Slot, ...]:
    """The slots of such a text; none for a text that is something else."""
    try:
        entries = json.loads(text or "[]")
        return tuple(
            Slot(intern(entry["node"]), intern(entry["gpu"]) if entry.get("gpu") else None)
            for entry in entries
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()
