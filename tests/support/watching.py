"""Waits for what the API server tells, without sleeping."""

from __future__ import annotations

from collections.abc import Callable

from support.control_plane.client import ApiClient, Body

PATIENCE = 90.0
"""Seconds without news after which what should happen will not; busy machines take a third."""


class NeverHappened(AssertionError):
    """What a test waited for did not come."""


def await_object(
    api: ApiClient, path: str, name: str, holds: Callable[[Body], bool], what: str
) -> Body:
    """The object of this name as soon as something holds of it.

    Raises:
        NeverHappened: it did not, for as long as PATIENCE says.
    """
    last: Body | None = None
    try:
        for kind, found in api.watch(path, PATIENCE, fieldSelector=f"metadata.name={name}"):
            last = found
            if kind != "DELETED" and holds(found):
                return found
    except TimeoutError:
        pass
    raise NeverHappened(f"{name}: {what}; its last state: {last}")


def await_matching(
    api: ApiClient, path: str, holds: Callable[[Body], bool], count: int, what: str, **query: str
) -> list[Body]:
    """So many objects of which something holds, as soon as there are.

    Raises:
        NeverHappened: there were not, for as long as PATIENCE says.
    """
    found: dict[str, Body] = {}
    last: dict[str, Body] = {}
    try:
        for kind, raw in api.watch(path, PATIENCE, **query):
            uid = raw["metadata"]["uid"]
            last[uid] = raw
            if kind == "DELETED" or not holds(raw):
                found.pop(uid, None)
            else:
                found[uid] = raw
            if len(found) >= count:
                return list(found.values())
    except TimeoutError:
        pass
    others = [raw for uid, raw in last.items() if uid not in found]
    raise NeverHappened(f"{what}: {len(found)} of {count}; among the others: {others[:2]}")


def condition(raw: Body, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty where it has none."""
    for each in (raw.get("status") or {}).get("conditions", ()):
        if each["type"] == kind:
            return each["status"], each["reason"]
    return "", ""


def await_gone(api: ApiClient, path: str, name: str) -> None:
    """Return when there is no object of this name.

    Raises:
        NeverHappened: there still is, after PATIENCE.
    """
    selector = {"fieldSelector": f"metadata.name={name}"}
    listed = api.get(path, **selector)
    if not listed["items"]:
        return
    since = listed["metadata"]["resourceVersion"]
    try:
        for kind, _ in api.watch(path, PATIENCE, resourceVersion=since, **selector):
            if kind == "DELETED":
                return
    except TimeoutError:
        pass
    raise NeverHappened(f"{name} is still there")
