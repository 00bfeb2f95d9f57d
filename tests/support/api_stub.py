"""A server that answers HTTP as it is told: what a client does with answers that are rare.

It is no API server. It is for what a real one cannot be made to say: 429 with a time, 5xx, half an
answer, silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from kubernetes.aio.client import Configuration

from carpool_operator.cluster.connection import Connection

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class StubServer:
    """What it was asked, and how it answers: one answer after the other, the last one for ever."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def connection(self) -> Connection:
        configuration = Configuration(host=f"http://127.0.0.1:{self.port}")
        configuration.api_key["BearerToken"] = "Bearer secret"
        return Connection(configuration, "test-agent")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.asked.append((request.method, request.path_qs, text))
        self.headers.append(dict(request.headers))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return await answer(request)


@asynccontextmanager
async def stub_server(*answers: Answer) -> AsyncIterator[StubServer]:
    server = StubServer(list(answers))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


def says(code: int, body: object, **headers: str) -> Answer:
    """An answer of JSON."""

    async def answer(_: web.Request) -> web.StreamResponse:
        named = {key.replace("_", "-"): text for key, text in headers.items()}
        return web.json_response(body, status=code, headers=named)

    return answer


def refuses(code: int, reason: str, message: str = "no", **headers: str) -> Answer:
    """An answer as the API server refuses."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message}
    return says(code, body, **headers)


async def hangs(_: web.Request) -> web.StreamResponse:
    """No answer at all."""
    await asyncio.Event().wait()
    raise AssertionError


def breaks_after(text: bytes) -> Answer:
    """The beginning of an answer, and then the end of the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(text) + 100)})
        await response.prepare(request)
        await response.write(text)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer
