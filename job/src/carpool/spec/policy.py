"""`spec.failurePolicy`: how much may go wrong before a job does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.strict import StrictModel

BadInputs = Literal["Quarantine", "Fail"]


class FailurePolicy(StrictModel):
    """What happens to bad input and to failed attempts."""

    bad_inputs: BadInputs = Field(
        default="Quarantine",
        description=(
            "Input whose content is bad. Quarantine: record it in the table quarantine and go on. "
            "Fail: end the job at the first. Network and storage errors are never bad input."
        ),
    )
    max_bad_percent: int = Field(
        default=100,
        ge=0,
        le=100,
        description=(
            "With Quarantine: the job fails when more of its frames than this are bad, in "
            "percent; a file that cannot be read at all counts as one frame."
        ),
        examples=[5],
    )
    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How often the whole job is started again after a failure that could pass.",
        examples=[3],
    )
