"""`spec.input`: what is read, and how videos are cut into work units."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.strict import INT32_MAX, StrictModel
from carpool.spec.text import Uri

InputKind = Literal["Video", "Images", "Parquet"]


class VideoSpec(StrictModel):
    """How videos are read."""

    chunk_seconds: int = Field(
        default=30,
        ge=0,
        le=INT32_MAX,
        description=(
            "Length of a work unit in seconds of video; cuts lie on key frames. 0: one group of "
            "frames between key frames a unit. Results do not depend on it."
        ),
        examples=[30],
    )
    every_nth_frame: int = Field(
        default=1,
        ge=1,
        le=INT32_MAX,
        description="Use one frame in so many, counted from the first frame of the file.",
        examples=[1, 5],
    )


class InputSpec(StrictModel):
    """What is read."""

    kind: InputKind = Field(
        default="Video",
        description="What the files hold. Images and Parquet are reserved for a later version.",
    )
    uris: list[Uri] = Field(
        min_length=1,
        max_length=256,
        description=(
            "Paths or URIs of the files. May hold the patterns *, ?, [..] and ** (any folders). "
            "Relative paths start at the working directory."
        ),
        examples=[["videos/*.mp4"], ["s3://traffic/2026-05/**/*.mp4"]],
    )
    video: VideoSpec = Field(
        default=VideoSpec(),
        description="How videos are read; for kind Video.",
    )
