"""Watches: what is followed, what a gap loses, and the signs of life."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from carpool_operator.cluster import watch as module
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.observed_session import observed_response
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.cluster.resources import PODS
from carpool_operator.cluster.watch import follow
from support.api_stub import refuses, says, stub_server
from support.fake_clock import until


class Follower:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.lives = 0

    def _note(self, text: str) -> None:
        self.notes.append(text)

    def seen(self, plural: str, raw: dict[str, Any]) -> None:
        self._note(f"seen {raw['metadata']['uid']}@{raw['metadata']['resourceVersion']}")

    def gone(self, plural: str, raw: dict[str, Any]) -> None:
        self._note(f"gone {raw['metadata']['uid']}")

    def listed(self, plural: str, uids: frozenset[str], version: str) -> None:
        self._note(f"listed {','.join(sorted(uids))}")

    def alive(self, plural: str) -> None:
        self.lives += 1

    async def until(self, note: str) -> None:
        await until(lambda: note in self.notes)


def item(uid: str, version: int) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}}


def list_of(version: int, *items: dict[str, Any]):
    return says(200, {"metadata": {"resourceVersion": str(version)}, "items": list(items)})


def events(*events: tuple[str, dict[str, Any]], then_silent: bool = False):
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for kind, raw in events:
            await response.write(json.dumps({"type": kind, "object": raw}).encode() + b"\n")
        if then_silent:
            await asyncio.Event().wait()
        return response

    return answer


def followed(*answers, last: str) -> tuple[Follower, list[str]]:
    async def main():
        follower = Follower()
        async with (
            stub_server(*answers) as server,
            Client(server.connection(), RateLimit(1e6, 1000)) as client,
        ):
            task = asyncio.create_task(follow(client, PODS, follower))
            await follower.until(last)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return follower, [path for _, path, _ in server.asked]

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(module, "_BACKOFF", (0.0,))


def test_a_list_and_then_what_changes():
    follower, asked = followed(
        list_of(10, item("a", 3), item("b", 4)),
        events(
            ("ADDED", item("c", 11)),
            ("BOOKMARK", item("", 12)),
            ("DELETED", item("a", 13)),
            then_silent=True,
        ),
        last="gone a",
    )
    assert follower.notes == ["seen a@3", "seen b@4", "listed a,b", "seen c@11", "gone a"]
    assert "resourceVersion=10" in asked[1]
    assert "allowWatchBookmarks=true" in asked[1]
    assert follower.lives == 4  # a page, and each event; a bookmark is one


def test_a_watch_that_the_server_ends_goes_on_where_it_ended():
    _, asked = followed(
        list_of(10),
        events(("BOOKMARK", item("", 25))),
        events(("ADDED", item("d", 26)), then_silent=True),
        last="seen d@26",
    )
    assert len(asked) == 3
    assert "resourceVersion=25" in asked[2]


def test_a_watch_that_is_too_far_behind_begins_with_a_list_again():
    follower, asked = followed(
        list_of(10, item("a", 3)),
        events(("ERROR", {"code": 410, "message": "too old resource version"})),
        list_of(90, item("b", 80)),
        events(then_silent=True),
        last="listed b",
    )
    assert follower.notes == ["seen a@3", "listed a", "seen b@80", "listed b"]
    assert "watch=true" not in asked[2]


def test_between_failures_of_watches_it_waits_longer_and_longer(monkeypatch):
    waited = []
    give_way = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:  # not what only gives others a turn
            waited.append(seconds)
        await give_way(0)

    monkeypatch.setattr(module, "_BACKOFF", (1.0, 2.0, 4.0))
    monkeypatch.setattr(module, "jittered", lambda seconds, _: seconds)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    failed = ("ERROR", {"code": 500, "reason": "InternalError", "message": "etcdserver: timeout"})
    expired = ("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
    _, asked = followed(
        list_of(10),
        events(failed),
        list_of(20),
        events(expired),
        list_of(30),
        events(expired),
        list_of(40, item("a", 35)),
        events(("BOOKMARK", item("", 50))),
        events(expired),
        list_of(60, item("b", 55)),
        events(then_silent=True),
        last="listed b",
    )
    # After a watch that went well the first list comes at once.
    assert waited == [1.0, 2.0, 4.0]
    assert len(asked) == 11


def test_a_server_that_fails_is_asked_again():
    follower, _ = followed(
        refuses(503, "ServiceUnavailable"),
        refuses(500, "InternalError"),
        list_of(10, item("a", 3)),
        events(then_silent=True),
        last="listed a",
    )
    assert follower.notes == ["seen a@3", "listed a"]


def test_a_silent_watch_is_given_up_and_begun_again(monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.05)
    follower, _ = followed(
        list_of(10),
        events(then_silent=True),
        list_of(20, item("a", 15)),
        events(then_silent=True),
        last="listed a",
    )
    assert follower.notes[-1] == "listed a"


def test_of_anothers_session_lists_and_signs_of_life_are_seen():
    async def main():
        follower = Follower()
        async with stub_server(
            says(
                200,
                {"metadata": {"continue": "more"}, "items": [item("a", 1)], "kind": "PodList"},
            ),
            says(
                200,
                {"metadata": {"resourceVersion": "7"}, "items": [item("b", 2)], "kind": "PodList"},
            ),
            events(("BOOKMARK", item("", 9))),
            says(200, {"kind": "APIResourceList"}),
        ) as server:
            session = server.connection().session(observed_response(follower))
            async with session:
                base = f"http://127.0.0.1:{server.port}/api/v1"
                for query in ("limit=1", "limit=1&continue=more"):
                    async with session.get(f"{base}/pods?{query}") as answer:
                        await answer.json()
                assert follower.notes == ["listed a,b"]
                before = follower.lives
                async with session.get(f"{base}/pods?watch=true") as answer:
                    read = [chunk async for chunk in answer.content.iter_chunked(1024)]
                assert b"BOOKMARK" in b"".join(read)
                assert follower.lives == before + len(read)
                async with session.get(f"{base}") as answer:
                    await answer.json()
                assert follower.notes == ["listed a,b"]
            assert server.headers[0]["Authorization"] == "Bearer secret"

    asyncio.run(main())


def test_a_list_that_is_refused_is_no_list():
    async def main():
        follower = Follower()
        async with stub_server(refuses(403, "Forbidden")) as server:
            session = server.connection().session(observed_response(follower))
            async with (
                session,
                session.get(f"http://127.0.0.1:{server.port}/api/v1/pods") as answer,
            ):
                await answer.json()
        assert follower.notes == []

    asyncio.run(main())
