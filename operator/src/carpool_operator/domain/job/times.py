"""Times of a status, in whole seconds as metav1.Time has them, and as seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_FIRST: Final = -62_135_596_800
_LAST: Final = 253_402_300_799


def timestamp(seconds: float) -> str:
    """A Unix time as RFC 3339 in UTC, whole seconds, as Kubernetes writes it.

    Times before the year 1 or after 9999 are those years' first and last second.
    """
    whole = min(max(int(seconds), _FIRST), _LAST)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(text: str) -> float:
    """A time in RFC 3339 as seconds since 1970.

    Raises:
        ValueError: the text is no such time.
    """
    return datetime.fromisoformat(text).timestamp()
