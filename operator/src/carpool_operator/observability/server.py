"""The HTTP endpoints for kubelet and Prometheus: /livez, /readyz, /metrics.

They are served by the operator's event loop: while it is blocked they do not answer, and kubelet
takes that for what it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest

from carpool_operator.observability.metrics import REGISTRY

Complaints = Callable[[], list[str]]


@asynccontextmanager
async def serve_probes(port: int, unready: Complaints, dead: Complaints) -> AsyncIterator[int]:
    """Answer probes while the context lasts: 200, or 503 with what is wrong.

    Yields:
        The port; it is chosen by the system where `port` is 0.
    """
    routes = [
        web.get("/livez", lambda _: _probe(dead())),
        web.get("/readyz", lambda _: _probe(unready())),
    ]
    async with _serve(port, routes) as chosen:
        yield chosen


@asynccontextmanager
async def serve_metrics(port: int) -> AsyncIterator[int]:
    """Answer Prometheus while the context lasts; yields the port, as above."""
    async with _serve(port, [web.get("/metrics", lambda _: _metrics())]) as chosen:
        yield chosen


@asynccontextmanager
async def _serve(port: int, routes: list[web.RouteDef]) -> AsyncIterator[int]:
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _probe(complaints: list[str]) -> web.Response:
    if complaints:
        return web.Response(status=503, text="\n".join(complaints) + "\n")
    return web.Response(text="ok\n")


async def _metrics() -> web.Response:
    return web.Response(
        body=generate_latest(REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4"}
    )
