"""Random differences of delays, so that what began together does not come back together."""

from __future__ import annotations

import random


def jittered(seconds: float, share: float = 0.2) -> float:
    """A time at random within `share` of it on either side."""
    return seconds * random.uniform(1 - share, 1 + share)  # noqa: S311 - nothing secret
