"""What the format already knows and this version cannot run yet.

The format is fixed ahead of the program, so that jobs written today stay valid. Each entry here
falls with the feature it waits for; the schema does not change then.
"""

from __future__ import annotations

from collections.abc import Callable

from carpool.errors import SpecError
from carpool.spec.job import InferenceJob

_REFUSALS: tuple[tuple[str, Callable[[InferenceJob], str], tuple[str, ...], str], ...] = (
    ("spec.input.kind", lambda job: job.spec.input.kind, ("Images", "Parquet"), "Video"),
)
"""Field, its value in a job, the values that are not built, and what to use instead."""


def check_runnable(job: InferenceJob) -> None:
    """Refuse a valid job that asks for what is not built yet.

    Raises:
        SpecError: one line for each field; it begins with the job's name.
    """
    lines = [
        f"{job.metadata.name}: {field}: {found(job)} is not built yet; use {instead}"
        for field, found, missing, instead in _REFUSALS
        if found(job) in missing
    ]
    if lines:
        raise SpecError("\n".join(lines))
