"""Fixtures of whole jobs."""

from support.local_fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    clips,
    own_clips,
    real_clip,
    real_job,
    reference_run,
)
