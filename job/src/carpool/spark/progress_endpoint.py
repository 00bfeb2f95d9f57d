"""`GET /progress` of a driver pod.

The standard library's server is enough: one operator asks, every few seconds. It must never keep
the driver from ending, so its threads are daemons and a client that stalls is dropped.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from carpool.errors import SpecError

_TIMEOUT_SECONDS = 5.0


@contextmanager
def progress_endpoint(
    port: int, progress: Callable[[], Mapping[str, Any]], *, address: str = ""
) -> Iterator[int]:
    """Answer `GET /progress` with JSON while the block runs; gives the port.

    Args:
        port: TCP port; 0 for any that is free.
        progress: what to answer, asked for at each request.
        address: to listen on; all by default.

    Raises:
        SpecError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/progress":
                self.send_error(HTTPStatus.NOT_FOUND, "only /progress is here")
                return
            body = json.dumps(progress()).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Say nothing: the log belongs to the job."""

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        raise SpecError(
            f"CARPOOL_PROGRESS_PORT: {port} cannot be listened on ({error.strerror}); "
            "set it to a free port, or unset it"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="progress", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
