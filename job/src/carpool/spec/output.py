"""`spec.output`: where results go, and what happens to those that are there already."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.strict import StrictModel
from carpool.spec.text import Uri

OutputMode = Literal["Resume", "Overwrite", "Error"]


class OutputSpec(StrictModel):
    """Where results go."""

    uri: Uri = Field(
        description=(
            "Folder that receives the tables detections, tracks, track_summary and quarantine. "
            "It belongs to this job; give every job its own."
        ),
        examples=["out/results", "s3://traffic/results/cam-12"],
    )
    mode: OutputMode = Field(
        default="Resume",
        description=(
            "What to do if the folder holds results. Resume: keep the finished work units of the "
            "same model and parameters, refuse others. Overwrite: delete them. Error: refuse."
        ),
    )
