"""Follows a collection by LIST and WATCH, over plain JSON.

Pods of the whole cluster are followed this way and not through kopf: whether an executor fits on a
node depends on all pods, so all are read, and of each only a small record is kept. kopf's way of an
event costs 0.74 CPU-milliseconds and a task and memory for each pod, parsing it 0.03.

What is missed while no watch stands is found by the next LIST: it brings what is there, so that
whoever keeps records can drop those of objects that are not.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Protocol

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.resources import Resource
from carpool_operator.errors import ApiError, Expired, api_error
from carpool_operator.jitter import jittered

log = logging.getLogger(__name__)

_SERVER_ENDS = 290
"""Seconds after which the server ends a watch; the next begins where it ended."""
_SILENCE = 75.0
"""Seconds of silence that mean a dead connection: bookmarks come every minute."""
_BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


class Follower(Protocol):
    """Who is told, with the name of the resource."""

    def seen(self, plural: str, raw: Json) -> None:
        """Take in an object, new, changed, or listed again."""

    def gone(self, plural: str, raw: Json) -> None:
        """An object was deleted; this is its last state."""

    def listed(self, plural: str, uids: frozenset[str], version: str) -> None:
        """All objects that there were at a version."""

    def alive(self, plural: str) -> None:
        """Something came, if only a bookmark."""


async def follow(client: Client, resource: Resource, follower: Follower) -> None:
    """Tell a follower of all objects of a resource, for ever; failures only delay."""
    plural = resource.plural
    failures = 0
    while True:
        try:
            version = await _list(client, resource, follower)
            while True:
                version = await _watch(client, resource, version, follower)
                failures = 0
        except ApiError as error:
            # Too far behind is usual, but not in a row: lists are dear to a server in trouble.
            usual = isinstance(error, Expired) and not failures
            delay = 0.0 if usual else jittered(_BACKOFF[min(failures, len(_BACKOFF) - 1)], 0.5)
            failures += 1
            told = {"resource": plural, "error": str(error), "retry_s": round(delay, 1)}
            log.log(logging.INFO if usual else logging.WARNING, "Watch ended", extra=told)
            await asyncio.sleep(delay)


async def _list(client: Client, resource: Resource, follower: Follower) -> str:
    uids: set[str] = set()
    version = ""
    async for page in client.pages(resource.path()):
        version = page["metadata"]["resourceVersion"]
        for raw in page["items"]:
            uids.add(raw["metadata"]["uid"])
            follower.seen(resource.plural, raw)
        follower.alive(resource.plural)
        await asyncio.sleep(0)  # others take their turn between pages of a large cluster
    follower.listed(resource.plural, frozenset(uids), version)
    return version


async def _watch(client: Client, resource: Resource, version: str, follower: Follower) -> str:
    """One watch request; returns the version at which the next goes on."""
    stream = client.lines(
        resource.path(),
        silence=_SILENCE,
        watch="true",
        allowWatchBookmarks="true",
        resourceVersion=version,
        timeoutSeconds=str(_SERVER_ENDS),
    )
    plural = resource.plural
    async for line in stream:
        event = json.loads(line)
        raw: Json = event["object"]
        follower.alive(plural)
        match event["type"]:
            case "ADDED" | "MODIFIED":
                follower.seen(plural, raw)
            case "DELETED":
                follower.gone(plural, raw)
            case "ERROR":
                message = f"watch of {plural}: {raw.get('message', raw)}"
                raise api_error(raw.get("code", 500), raw.get("reason", ""), message)
            case _:
                pass  # a bookmark
        version = raw["metadata"]["resourceVersion"]
    return version
