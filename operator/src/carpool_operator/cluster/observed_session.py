"""What passes through the watches of a library that does not tell: signs of life, and lists.

kopf hands objects to handlers, but no bookmarks, and after a gap in a watch it lists again without
saying which objects are gone. Both are seen from its HTTP answers, by a response class of its
session: a public seam of aiohttp and of kopf (`kopf.AiohttpSession`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp


class Listener(Protocol):
    """Who is told."""

    def alive(self, plural: str) -> None:
        """Something of this resource came."""

    def listed(self, plural: str, uids: frozenset[str], version: str) -> None:
        """All objects that there were of this resource at a version; events of them follow."""


def observed_response(listener: Listener) -> type[aiohttp.ClientResponse]:
    """A response class that tells `listener` of lists and watches."""
    pages: dict[str, set[str]] = {}

    class ObservedResponse(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if self.method == "GET" and self.status == 200 and "watch" in self.url.query:
                self.content = _Observed(self.content, _plural(self), listener)  # type: ignore[assignment] # the reader's surface that is used
            return self

        async def json(self, **options: Any) -> Any:
            body = await super().json(**options)
            if self.status == 200 and isinstance(body, dict) and "items" in body:
                self._note(body)
            return body

        def _note(self, body: dict[str, Any]) -> None:
            plural = _plural(self)
            if "continue" not in self.url.query:
                pages.pop(plural, None)  # of a list that broke off
            uids = pages.setdefault(plural, set())
            uids.update(item["metadata"]["uid"] for item in body["items"])
            listener.alive(plural)
            if not body["metadata"].get("continue"):
                version = body["metadata"]["resourceVersion"]
                listener.listed(plural, frozenset(pages.pop(plural)), version)

    return ObservedResponse


def _plural(response: aiohttp.ClientResponse) -> str:
    return response.url.path.rstrip("/").rsplit("/", 1)[-1]


class _Observed:
    """A stream reader that tells when something was read."""

    def __init__(self, reader: aiohttp.StreamReader, plural: str, listener: Listener) -> None:
        self._reader = reader
        self._plural = plural
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._reader.iter_chunked(size):
            self._listener.alive(self._plural)
            yield chunk
