"""Reasons of failures that are the model's, and would be the same on any device."""

from __future__ import annotations

from typing import Final

from carpool.errors import HostStartFailed, ModelError


def _reasons(kind: type[Exception]) -> set[str]:
    return {kind.__name__}.union(*(_reasons(each) for each in kind.__subclasses__()))


MODEL_REASONS: Final = frozenset(_reasons(ModelError) | {HostStartFailed.__name__})
"""Reasons that a model host gives in its termination message, or a driver."""
