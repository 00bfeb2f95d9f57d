"""The status as it is written: its JSON, and whether a new one is worth a write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from carpool.spec import InferenceJobStatus

FIGURES: Final = ("progress", "model", "gpus", "failures")
"""What changes all the time while a job runs, and may be late."""


def as_json(status: InferenceJobStatus) -> dict[str, Any]:
    """The status as it is sent to the API server, by server-side apply as a whole."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def worth_writing(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    last_written: float | None,
    now: float,
    interval: float,
) -> bool:
    """Whether a new status should be written now.

    What programs and people act upon (phase, conditions, attempts) is written at once; figures and
    sentences that differ alone, once in `interval` seconds.

    Args:
        old: what stands on the job.
        new: what should.
        last_written: Unix time of the last write; None: none that is known.
        now: Unix time.
        interval: seconds.
    """
    if old == new:
        return False
    if _acted_upon(old) != _acted_upon(new):
        return True
    return last_written is None or now - last_written >= interval


def _acted_upon(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in status.items() if name not in FIGURES}
    kept["conditions"] = [
        {name: value for name, value in condition.items() if name != "message"}
        for condition in status.get("conditions", [])
    ]
    return kept
