"""Counts and names in sentences for people."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, what: str) -> str:
    """A count with its noun: "1 slot", "2 slots"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def named(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more
