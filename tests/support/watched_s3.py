"""An S3 server that remembers every request and can be told to fail or to interrupt one."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from pyarrow import fs
from werkzeug.serving import make_server

from carpool.inputs.filesystem import StorageOptions


@dataclass(frozen=True)
class Request:
    method: str
    key: str
    query: str

    def __str__(self) -> str:
        return f"{self.method} {self.key}?{self.query}".rstrip("?")


Interruption = Callable[[Request, Any], bool]
"""Given a request and its body (a stream), whether the request is to be answered with 403."""


@dataclass
class WatchedS3:
    """A running server with one empty bucket.

    Attributes:
        bucket: name of the bucket.
        storage: how to reach the server.
        requests: every request for a key, in order of arrival.
        interrupt: asked about each request before it is served.
    """

    bucket: str
    storage: StorageOptions
    requests: list[Request] = field(default_factory=list)
    interrupt: Interruption = lambda _request, _body: False

    @property
    def filesystem(self) -> fs.S3FileSystem:
        assert self.storage.endpoint
        return fs.S3FileSystem(
            endpoint_override=self.storage.endpoint.removeprefix("http://"),
            scheme="http",
            region=self.storage.region,
            allow_bucket_creation=True,
        )

    def changes(self) -> list[str]:
        """The requests that were not mere looks, as `METHOD key?query`."""
        return [str(each) for each in self.requests if each.method not in {"GET", "HEAD"}]


@contextmanager
def watched_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedS3]:
    """Run a server with a fresh bucket; credentials are put into the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    watched: list[WatchedS3] = []

    def watch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        request = Request(environ["REQUEST_METHOD"], key, environ.get("QUERY_STRING", ""))
        for each in watched:
            if bucket == each.bucket:
                each.requests.append(request)
                if each.interrupt(request, environ["wsgi.input"]):
                    start_response("403 Forbidden", [("Content-Length", "0")])
                    return [b""]
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    server = make_server("127.0.0.1", 0, watch, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        s3 = WatchedS3(f"bucket-{uuid.uuid4().hex}", StorageOptions(endpoint, "us-east-1"))
        s3.filesystem.create_dir(s3.bucket)
        watched.append(s3)
        yield s3
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
