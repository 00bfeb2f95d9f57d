"""The status as it is written: its JSON, and when a new one is worth a write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from carpool.spec import CONDITION_TYPES, InferenceJobStatus

FIGURES: Final = ("progress", "model", "gpus", "failures")
"""What changes all the time while a job runs, and may be late."""


def as_json(status: InferenceJobStatus) -> dict[str, Any]:
    """The status as it is sent to the API server, by server-side apply as a whole.

    Conditions of other controllers are theirs to apply, and left out.
    """
    return _ours(status.model_dump(mode="json", by_alias=True, exclude_none=True))


def due_at(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    last_written: float | None,
    now: float,
    interval: float,
) -> float | None:
    """Unix time from which a new status is worth a write; None: it says nothing new.

    What programs and people act upon (phase, conditions, attempts) is written at once; figures and
    sentences that differ alone, once in `interval` seconds.

    Args:
        old: what stands on the job.
        new: what should.
        last_written: Unix time of the last write; None: none that is known.
        now: Unix time.
        interval: seconds.
    """
    old, new = _ours(old), _ours(new)
    if old == new:
        return None
    if last_written is None or _acted_upon(old) != _acted_upon(new):
        return now
    return max(last_written + interval, now)


def _ours(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status with our conditions alone, in our order: the API server keeps its own."""
    found = {condition["type"]: condition for condition in status.get("conditions", ())}
    listed = [found[kind] for kind in CONDITION_TYPES if kind in found]
    return {**status, "conditions": listed}


def _acted_upon(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in status.items() if name not in FIGURES}
    kept["conditions"] = [
        {name: value for name, value in condition.items() if name != "message"}
        for condition in status["conditions"]
    ]
    return kept
