"""JSON over HTTP to an API server, with a client certificate and one open connection.

The tests' own way and no client library: it shows requests and answers as they are on the wire, and
costs a millisecond each.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from support.control_plane.certificates import Credentials

Body = dict[str, Any]
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused: `status` is its answer, a metav1.Status."""

    def __init__(self, status: Body) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.code: int = status.get("code", 0)
        self.reason: str = status.get("reason", "")
        self.causes: list[tuple[str, str]] = [
            (cause.get("field", ""), cause.get("message", ""))
            for cause in status.get("details", {}).get("causes", [])
        ]


_IDLE = 30.0
"""Seconds after which a connection is not used again: the server may be about to end it."""


class ApiClient:
    """One user's connection; not for use by several threads."""

    def __init__(self, port: int, authority: Path, credentials: Credentials) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._tls.load_cert_chain(credentials.certificate, credentials.key)
        self._connection = self._connect()
        self._used = time.monotonic()

    def _connect(self, timeout: float = 60) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._tls, timeout=timeout
        )

    def close(self) -> None:
        self._connection.close()

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        **query: str,
    ) -> tuple[int, bytes]:
        """Status code and body of an answer.

        Raises:
            OSError: the server does not answer.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body, allow_nan=False)
        now = time.monotonic()
        if now - self._used > _IDLE:
            self._connection.close()  # it opens again by itself
        self._used = now
        try:
            self._connection.request(method, target, content, {"Content-Type": content_type})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            # Whatever is left on the connection would be taken for the next answer.
            self._connection.close()
            raise

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        **query: str,
    ) -> Body:
        """The object that the server answers with.

        Raises:
            ApiError: the server refused.
        """
        code, content = self.raw(method, path, body, content_type, **query)
        answer: Body = json.loads(content)
        if code >= http.HTTPStatus.BAD_REQUEST:
            raise ApiError(answer)
        return answer

    def get(self, path: str, **query: str) -> Body:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Body, **query: str) -> Body:
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: Body, **query: str) -> Body:
        return self.call("PUT", path, body, **query)

    def merge(self, path: str, body: Body, **query: str) -> Body:
        return self.call("PATCH", path, body, MERGE, **query)

    def apply(self, path: str, body: Body, manager: str = "tests") -> Body:
        """Server-side apply."""
        return self.call("PATCH", path, body, APPLY, fieldManager=manager, force="true")

    def delete(self, path: str, **query: str) -> Body:
        return self.call("DELETE", path, **query)

    def watch(self, path: str, timeout: float, **query: str) -> Iterator[tuple[str, Body]]:
        """Events (type, object) as they come, those of existing objects first.

        Raises:
            TimeoutError: nothing came for `timeout` seconds.
        """
        connection = self._connect(timeout)
        try:
            query |= {"watch": "true"}
            connection.request("GET", f"{path}?{urlencode(query)}")
            answer = connection.getresponse()
            for line in answer:
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            connection.close()
