"""Fixtures of whole jobs."""

from support.local_fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    clips,
    own_clips,
    real_clip,
    real_job,
    reference_run,
)
from support.spark_sessions import spark  # noqa: F401 - as above
