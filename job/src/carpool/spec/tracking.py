"""`spec.tracking`: how detections are joined to tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.strict import StrictModel
from carpool.spec.text import FreeForm


class TrackingSpec(StrictModel):
    """How detections are joined to tracks."""

    algorithm: Literal["ByteTrack"] = Field(
        default="ByteTrack",
        description="The tracker (ByteTrack: Zhang et al., ECCV 2022).",
    )
    parameters: FreeForm = Field(
        default={},
        description="Parameters of the tracker, which checks them.",
    )
