"""Which objects of one resource exist, as far as the watch has told, and which version was seen.

A watch tells late: after a write of our own the answer is newer than what comes next, and an object
that is gone may come once more. Versions only grow, and a UID that is gone never comes back
(https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
"""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 20_000
"""UIDs of objects that are gone; long after any event of them can be under way."""


class Sightings:
    """Versions by UID."""

    def __init__(self) -> None:
        """Know of nothing."""
        self._versions: dict[str, int] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._expected: set[str] | None = None

    def seen(self, uid: str, version: str) -> bool:
        """Note a version; whether it is news."""
        if self._expected:
            self._expected.discard(uid)
        number = int(version)
        if uid in self._gone or number <= self._versions.get(uid, -1):
            return False
        self._versions[uid] = number
        return True

    def gone(self, uid: str) -> bool:
        """Note that it exists no more; whether it did."""
        if self._expected:
            self._expected.discard(uid)
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)
        return self._versions.pop(uid, None) is not None

    def listed(self, uids: frozenset[str], version: str) -> list[str]:
        """Compare with all that existed at a version; returns those that are gone untold.

        What was seen at a later version, by the answer to a write for example, may have been made
        since: that it is not in the list says nothing.
        """
        self._expected = set(uids) - self._versions.keys() - self._gone.keys()
        newest = int(version)
        return [uid for uid, seen in self._versions.items() if uid not in uids and seen <= newest]

    @property
    def synced(self) -> bool:
        """Whether a list came and all of it was seen."""
        return self._expected is not None and not self._expected

    def __len__(self) -> int:
        return len(self._versions)
