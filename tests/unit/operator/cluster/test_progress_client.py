"""Asking drivers: an answer, or none, and never a failure."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from carpool_operator.cluster import progress as module
from carpool_operator.cluster.progress import ProgressClient
from support.api_stub import breaks_after, hangs, says, stub_server

ANSWER = {"phase": "Detecting", "frames": {"total": 2, "done": 1, "failed": 0}}


def asked(*answers, port: int | None = None):
    async def main():
        async with stub_server(*answers) as server:
            client = ProgressClient()
            try:
                return await client.ask("127.0.0.1", port or server.port)
            finally:
                await client.close()

    return asyncio.run(main())


def raw(text: str):
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    return answer


async def in_pieces(request: web.Request) -> web.StreamResponse:
    """As a busy driver's answer comes: not at once."""
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (
        b'{"phase": ',
        b'"Detecting", "frames": ',
        b'{"total": 2, "done": 1, "failed": 0}}',
    ):
        await response.write(piece)
        await asyncio.sleep(0)
    return response


@pytest.mark.parametrize("answer", [says(200, ANSWER), in_pieces], ids=["whole", "in pieces"])
def test_an_answer_is_given_on(answer):
    assert asked(answer) == ANSWER


async def elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/latest/meta-data")


@pytest.mark.parametrize(
    "answer",
    [
        says(503, ANSWER),
        says(200, ["a", "list"]),
        raw("no JSON"),
        raw("{" + " " * module._LARGEST + "}"),
        breaks_after(b'{"phase": '),
        elsewhere,
    ],
    ids=["refusal", "no object", "no JSON", "too long", "half", "redirect"],
)
def test_whatever_else_comes_is_no_answer(answer):
    assert asked(answer) is None


def test_a_driver_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    assert asked(hangs) is None


def test_a_driver_that_does_not_listen_is_no_failure():
    assert asked(says(200, ANSWER), port=1) is None


def test_so_many_drivers_are_asked_at_once_and_no_more():
    most = now = 0

    async def main():
        nonlocal most, now
        full = asyncio.Event()

        async def counted(_: web.Request) -> web.StreamResponse:
            nonlocal most, now
            now += 1
            most = max(most, now)
            if now == 2:
                full.set()
            await full.wait()
            now -= 1
            return web.json_response(ANSWER)

        async with stub_server(counted) as server:
            client = ProgressClient(limit=2)
            await asyncio.gather(*(client.ask("127.0.0.1", server.port) for _ in range(6)))
            await client.close()

    asyncio.run(main())
    assert most == 2
