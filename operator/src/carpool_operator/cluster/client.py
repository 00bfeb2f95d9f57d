"""Requests to the API server: plain JSON in, plain JSON out, errors of our own.

Everything has a timeout. A request is made once; only a 429, which says that nothing was done, is
repeated here, after the time that the server names. Anything else is for the caller's queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.rest import RESTResponse

from carpool_operator.cluster.connection import Connection, Guard
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.errors import TooManyRequests, Unreachable, api_error
from carpool_operator.observability.metrics import API_REQUESTS, API_SECONDS

Json = dict[str, Any]
FIELD_MANAGER: Final = "carpool-operator"

_TIMEOUT = 10.0
_WHOLE: Final = aiohttp.ClientTimeout(total=_TIMEOUT)
_PAGE = 500
_PATIENCE_429 = 3
_MOST_RETRY_AFTER = 30.0
_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Client:
    """One identity's requests, under one rate limit."""

    def __init__(
        self,
        connection: Connection,
        limit: RateLimit,
        *,
        guard: Guard | None = None,
        manager: str = FIELD_MANAGER,
    ) -> None:
        """Make a client.

        Args:
            connection: to the API server.
            limit: shared by all clients of the process.
            guard: called right before a write is sent; what it raises keeps the write from being
                sent and reaches the caller.
            manager: name under which fields are written.
        """
        self._api = connection.client(guard)
        self._server = connection.server
        self._agent = connection.agent
        self._limit = limit
        self._manager = manager

    async def __aenter__(self) -> Self:
        """Nothing to open: connections are made when they are needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str) -> Json:
        """Read an object.

        Raises:
            ApiError: one of its subtypes, as for all requests below.
        """
        return await self._call("GET", path)

    async def pages(self, path: str, **query: str) -> AsyncIterator[Json]:
        """Read a collection, a page of 500 after the other."""
        query["limit"] = str(_PAGE)
        while True:
            page = await self._call("GET", path, query=query)
            yield page
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Create an object; it is never replaced where there is one (AlreadyExists)."""
        return await self._call("POST", path, body, query={"fieldManager": self._manager})

    async def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """Replace an object; Conflict where `metadata.resourceVersion` is not its version."""
        return await self._call("PUT", path, body, query={"fieldManager": self._manager})

    async def patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Json:
        """Change an object by a JSON patch (RFC 6902); Invalid where one of its tests fails."""
        query = {"fieldManager": self._manager}
        return await self._call("PATCH", path, list(operations), query=query, kind=_JSON_PATCH)

    async def merge(self, path: str, body: Mapping[str, Any]) -> Json:
        """Change the fields that `body` names (RFC 7396); null removes one."""
        query = {"fieldManager": self._manager}
        return await self._call("PATCH", path, body, query=query, kind=_MERGE_PATCH)

    async def apply(self, path: str, body: Mapping[str, Any]) -> Json:
        """Server-side apply: afterwards our fields are those of `body`, whoever else set them."""
        query = {"fieldManager": self._manager, "force": "true"}
        return await self._call("PATCH", path, body, query=query, kind=_APPLY)

    async def delete(self, path: str, *, uid: str | None = None) -> None:
        """Delete an object, its dependents in the background.

        Args:
            path: of the object.
            uid: only the object with this UID (Conflict where another has taken its name).
        """
        options: Json = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._call("DELETE", path, options)

    async def lines(self, path: str, silence: float, **query: str) -> AsyncIterator[bytes]:
        """Read a stream line by line until the server ends it.

        Args:
            path: of a collection.
            silence: seconds without a byte after which the connection is given up.
            query: of the request.

        Raises:
            Unreachable: the connection broke, or was silent for too long.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=silence)
        answer = await self._send(_Request("GET", path, None, query), timeout)
        response = answer.response
        try:
            rest = b""
            async for chunk in response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"GET {path}: the stream broke: {_told(error)}") from error
        finally:
            response.close()

    async def _call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = _JSON,
    ) -> Json:
        request = _Request(verb, path, body, query or {}, kind)
        for chance in range(_PATIENCE_429, -1, -1):
            try:
                answer = await self._send(request, _WHOLE)
                content: Json = json.loads(await _content(answer))
            except TooManyRequests as refusal:
                if not chance:
                    raise
                self._limit.pause(min(refusal.retry_after or 1.0, _MOST_RETRY_AFTER))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise Unreachable(f"{request}: no whole answer: {_told(error)}") from error
            else:
                return content
        raise AssertionError("the last chance returns or raises")

    async def _send(self, request: _Request, limits: aiohttp.ClientTimeout) -> RESTResponse:
        await self._limit.take()
        url = f"{self._server}{request.path}"
        if request.query:
            url += f"?{urlencode(request.query)}"
        headers = {"Accept": _JSON, "Content-Type": request.kind, "User-Agent": self._agent}
        code = 0
        begun = time.monotonic()
        try:
            answer = await self._api.call_api(
                request.verb, url, headers, request.body, _request_timeout=limits
            )
            code = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{request}: no answer: {_told(error)}") from error
        finally:
            API_REQUESTS.labels(request.verb, str(code)).inc()
            API_SECONDS.labels(request.verb).observe(time.monotonic() - begun)
        if code >= 400:
            raise api_error(code, *await _refusal(answer, str(request)))
        return answer


@dataclass(frozen=True, slots=True)
class _Request:
    verb: str
    path: str
    body: Any
    query: Mapping[str, str]
    kind: str = _JSON

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


async def _content(answer: RESTResponse) -> bytes:
    content: bytes = await answer.read()  # type: ignore[no-untyped-call]
    return content


async def _refusal(answer: RESTResponse, asked: str) -> tuple[str, str, float | None]:
    """Reason, message and seconds to wait, of an answer that is a refusal."""
    try:
        text = (await _content(answer)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        text = _told(error)
    try:
        status: Json = json.loads(text)
        reason, message = str(status.get("reason", "")), str(status.get("message", text))
    except (ValueError, AttributeError):
        reason, message = "", text[:500]
    after = answer.headers.get("Retry-After", "")
    return (
        reason,
        f"{asked}: {answer.status} {message}",
        float(after) if after.isdecimal() else None,
    )


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
