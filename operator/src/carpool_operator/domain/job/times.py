"""Times as the API server writes them, and as seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(seconds: float) -> str:
    """A Unix time as RFC 3339 in UTC, whole seconds, as Kubernetes writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(text: str) -> float:
    """A time in RFC 3339 as seconds since 1970.

    Raises:
        ValueError: the text is no such time.
    """
    return datetime.fromisoformat(text).timestamp()
