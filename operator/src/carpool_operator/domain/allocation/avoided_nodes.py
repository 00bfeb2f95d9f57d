"""Nodes that are left alone for a while, since a pod that was sent there found no place.

The scheduler knows more than the ledger: affinity between pods, volumes, ports. A node that it
refused is avoided for a minute, then for two, four, up to ten if it goes on, so that no pod is
created and deleted in a loop; what was held against it fades by half in ten minutes.

This is memory: after a restart of the operator every node has a clean record.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 60.0
LONGEST_SECONDS = 600.0
HALF_LIFE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Record:
    level: float
    at: float
    until: float


class AvoidedNodes:
    """Which nodes are avoided, and until when."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def blame(self, node: str, now: float) -> bool:
        """A pod found no place there; says whether the node was not avoided before."""
        known = self._records.get(node)
        if known is not None and now < known.until:
            return False
        level = 1.0
        if known is not None:
            level += known.level * 0.5 ** ((now - known.at) / HALF_LIFE_SECONDS)
        seconds = min(FIRST_SECONDS * 2 ** (level - 1), LONGEST_SECONDS)
        self._records[node] = _Record(level, now, now + seconds)
        return True

    def over(self, avoided: set[str], now: float) -> list[str]:
        """Those of `avoided` whose time is over; a record without weight is dropped."""
        for node, record in list(self._records.items()):
            if record.until <= now - 10 * HALF_LIFE_SECONDS:
                del self._records[node]
        return [
            node
            for node in avoided
            if node not in self._records or self._records[node].until <= now
        ]

    def next_end(self, now: float) -> float | None:
        """When the next node is no longer avoided."""
        ends = [record.until for record in self._records.values() if record.until > now]
        return min(ends, default=None)
