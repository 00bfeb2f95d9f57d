"""An S3 server on this machine whose objects can be made unreadable for a while."""

from __future__ import annotations

import logging
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server

from carpool.inputs.filesystem import StorageOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest


@dataclass
class FlakyS3:
    """A running server with one bucket.

    Attributes:
        bucket: its bucket.
        storage: how to reach the server.
        fault: how reading objects fails: "error" answers 500, "cut" breaks off in mid-body.
        object_reads: GET requests for objects so far, failed ones included.
    """

    bucket: str
    storage: StorageOptions
    fault: Literal["error", "cut"] | None = None
    object_reads: int = 0

    def put(self, key: str, source: Path) -> str:
        """Upload a file; returns its URI."""
        endpoint = self.storage.endpoint
        assert endpoint is not None
        server = fs.S3FileSystem(endpoint_override=endpoint, region=self.storage.region)
        with server.open_output_stream(f"{self.bucket}/{key}") as sink:
            sink.write(source.read_bytes())
        return f"s3://{self.bucket}/{key}"

    def serve(self, app: Any, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer one request, or fail it."""
        key = environ["PATH_INFO"].removeprefix(f"/{self.bucket}").strip("/")
        if environ["REQUEST_METHOD"] == "GET" and key:
            self.object_reads += 1
            if self.fault == "error":
                start("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
            if self.fault == "cut":
                body = b"".join(app(environ, start))
                return [body[: len(body) // 2]]
        answer: Iterable[bytes] = app(environ, start)
        return answer


Server = TypeVar("Server", bound=FlakyS3)


@contextmanager
def flaky_s3(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Server] = FlakyS3,  # type: ignore[assignment]  # a default fits any Server
) -> Iterator[Server]:
    """Run a server on a free port for the duration of the block."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    state = kind(f"clips-{uuid.uuid4().hex[:8]}", StorageOptions())
    server = make_server(
        "127.0.0.1", 0, lambda environ, start: state.serve(app, environ, start), threaded=True
    )
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.storage = StorageOptions(f"http://127.0.0.1:{server.server_port}", "us-east-1")
    try:
        fs.S3FileSystem(
            endpoint_override=state.storage.endpoint,
            region=state.storage.region,
            allow_bucket_creation=True,
        ).create_dir(state.bucket)
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
