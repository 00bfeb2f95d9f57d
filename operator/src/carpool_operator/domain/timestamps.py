"""Times as the API server writes them (RFC 3339), as Unix times."""

from __future__ import annotations

from datetime import UTC, datetime


def unix_time(timestamp: str | None) -> float | None:
    """Seconds since 1970 of a time such as "2026-11-25T03:00:20Z"; None for what is none."""
    if not timestamp:
        return None
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return None


def rfc3339(seconds: float) -> str:
    """A Unix time as the API server's MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
