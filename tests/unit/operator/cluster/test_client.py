"""What the client makes of answers, and what it never sends."""

from __future__ import annotations

import asyncio
import json

import pytest

from carpool_operator.cluster import client as client_module
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    LeadershipLost,
    NotFound,
    ServerFailed,
    TooManyRequests,
    Unreachable,
)
from carpool_operator.observability.metrics import API_REQUESTS
from support.api_stub import breaks_after, hangs, refuses, says, stub_server


def run(work, *answers, guard=None):
    """Do some work with a client of a stub that gives these answers."""

    async def main():
        async with stub_server(*answers) as server:
            limit = RateLimit(1000, 1000)
            async with Client(server.connection(), limit, guard=guard) as client:
                return server, await work(client)

    return asyncio.run(main())


def failure(*answers, work=None):
    """The error that a request ends in."""

    async def catch(client):
        try:
            await (work or (lambda client: client.get("/api/v1/pods")))(client)
        except ApiError as error:
            return error
        raise AssertionError("no error")

    return run(catch, *answers)[1]


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", Invalid, False),
        (401, "Unauthorized", Forbidden, True),
        (403, "Forbidden", Forbidden, True),
        (404, "NotFound", NotFound, False),
        (409, "AlreadyExists", AlreadyExists, False),
        (409, "Conflict", Conflict, True),
        (410, "Expired", Expired, False),
        (422, "Invalid", Invalid, False),
        (500, "InternalError", ServerFailed, True),
        (503, "ServiceUnavailable", ServerFailed, True),
    ],
)
def test_the_type_of_an_error_says_whether_it_is_retried(code, reason, kind, retryable):
    error = failure(refuses(code, reason, "the field spec.x"))
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.code == code
    assert "GET /api/v1/pods" in str(error)
    assert "the field spec.x" in str(error)


def test_too_many_requests_are_asked_again_when_the_server_said():
    server, answer = run(
        lambda client: client.get("/api/v1/nodes"),
        refuses(429, "TooManyRequests", Retry_After="0"),
        says(200, {"items": []}),
    )
    assert answer == {"items": []}
    assert len(server.asked) == 2


def test_a_server_that_always_says_later_is_believed_in_the_end():
    error = failure(refuses(429, "TooManyRequests", Retry_After="0"))
    assert type(error) is TooManyRequests
    assert error.retry_after == 0


def test_one_later_holds_back_all_requests_of_the_process():
    paused = []

    class Limit(RateLimit):
        def pause(self, seconds: float) -> None:
            paused.append(seconds)

    async def main():
        answers = (refuses(429, "TooManyRequests", Retry_After="7"), says(200, {}))
        async with (
            stub_server(*answers) as server,
            Client(server.connection(), Limit(1000, 1000)) as client,
        ):
            await client.get("/api/v1/nodes")

    asyncio.run(main())
    assert paused == [7.0]


def test_no_answer_in_time_is_an_error_that_is_retried(monkeypatch):
    monkeypatch.setattr(client_module, "_WHOLE", client_module.aiohttp.ClientTimeout(total=0.05))
    error = failure(hangs)
    assert type(error) is Unreachable
    assert error.retryable


def test_half_an_answer_is_none():
    assert type(failure(breaks_after(b'{"metadata": {'))) is Unreachable


def test_a_refusal_that_is_no_json_keeps_its_code():
    async def proxy_says(_):
        return client_module.aiohttp.web.Response(status=502, text="<html>bad gateway</html>")

    error = failure(proxy_says)
    assert type(error) is ServerFailed
    assert "bad gateway" in str(error)


def test_nobody_listening_is_an_error_that_is_retried():
    async def main():
        async with stub_server(says(200, {})) as server:
            connection = server.connection()
        async with Client(connection, RateLimit(1000, 1000)) as client:
            with pytest.raises(Unreachable):
                await client.get("/api/v1/nodes")

    asyncio.run(main())


def test_a_write_is_not_sent_without_leadership_and_a_read_is():
    def lost():
        raise LeadershipLost("late")

    writes = [
        lambda client: client.create("/api/v1/pods", {}),
        lambda client: client.replace("/api/v1/pods/a", {}),
        lambda client: client.patch("/api/v1/pods/a", []),
        lambda client: client.apply("/api/v1/pods/a", {}),
        lambda client: client.delete("/api/v1/pods/a", uid="1"),
    ]

    async def try_all(client):
        for write in writes:
            with pytest.raises(LeadershipLost):
                await write(client)
        await client.get("/api/v1/nodes")

    server, _ = run(try_all, says(200, {}), guard=lost)
    assert [verb for verb, *_ in server.asked] == ["GET"]


def test_leadership_is_asked_for_after_waiting_for_a_turn():
    """What counts is the moment of sending: a turn may have to be waited for."""
    order = []

    class Limit(RateLimit):
        async def take(self) -> None:
            order.append("turn")

    async def main():
        async with (
            stub_server(says(201, {})) as server,
            Client(server.connection(), Limit(1, 1), guard=lambda: order.append("check")) as client,
        ):
            await client.create("/api/v1/pods", {})

    asyncio.run(main())
    assert order == ["turn", "check"]


def test_leadership_that_is_lost_between_connecting_and_writing_keeps_a_write_from_being_sent():
    """Headers and body are written a turn of the loop after the request was begun."""
    leads = True

    def guard():
        if not leads:
            raise LeadershipLost("stopped meanwhile")

    async def main():
        nonlocal leads
        async with (
            stub_server(says(201, {})) as server,
            Client(server.connection(), RateLimit(1000, 1000), guard=guard) as client,
        ):
            await client.create("/api/v1/pods", {})  # the connection stands
            leads = True
            sending = asyncio.create_task(client.create("/api/v1/pods", {}))
            for _ in range(100):
                await asyncio.sleep(0)
                if client._api.rest_client.pool_manager.connector._acquired:
                    break
            leads = False
            with pytest.raises(LeadershipLost):
                await sending
            assert len(server.asked) == 1

    asyncio.run(main())


def test_requests_are_counted_by_verb_and_code():
    def count(code):
        return API_REQUESTS.labels("GET", code)._value.get()

    before = {code: count(code) for code in ("200", "404", "0")}
    run(lambda client: client.get("/a"), says(200, {}))
    failure(refuses(404, "NotFound"))
    failure(breaks_after(b"{"))
    assert count("200") - before["200"] == 2  # half an answer had a status
    assert count("404") - before["404"] == 1


def test_deletion_names_the_uid_and_lets_dependents_go_in_the_background():
    server, _ = run(lambda client: client.delete("/api/v1/pods/a", uid="u-1"), says(200, {}))
    assert json.loads(server.asked[0][2]) == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u-1"},
    }


def test_a_collection_is_read_page_by_page():
    async def all_names(client):
        return [
            item["name"] async for page in client.pages("/api/v1/pods") for item in page["items"]
        ]

    server, found = run(
        all_names,
        says(200, {"metadata": {"continue": "next"}, "items": [{"name": "a"}]}),
        says(200, {"metadata": {}, "items": [{"name": "b"}]}),
    )
    assert found == ["a", "b"]
    assert [path for _, path, _ in server.asked] == [
        "/api/v1/pods?limit=500",
        "/api/v1/pods?limit=500&continue=next",
    ]


def test_each_request_carries_the_token_and_who_asks():
    server, _ = run(lambda client: client.get("/a"), says(200, {}))
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.headers[0]["User-Agent"] == "test-agent"


def test_a_silent_stream_is_given_up():
    async def silent(request):
        response = client_module.aiohttp.web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"a": 1}\n{"b"')
        await asyncio.Event().wait()
        return response

    async def read(client):
        lines = client.lines("/api/v1/pods", silence=0.05, watch="true")
        first = await anext(lines)
        with pytest.raises(Unreachable):
            await anext(lines)
        return first

    assert run(read, silent)[1] == b'{"a": 1}'
