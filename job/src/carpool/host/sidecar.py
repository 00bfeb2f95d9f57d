"""The host where a container of the pod runs it: tasks find it, and never start one.

Kubernetes starts the sidecar before the executor and restarts it when it ends, so a socket that
nobody listens on is a host on its way, not a host that is missing.
"""

from __future__ import annotations

import time
from pathlib import Path

from carpool.errors import HostTimeout
from carpool.host.launch import SOCKET_NAME, listens
from carpool.host.process import check_socket_path

_POLL_SECONDS = 0.1
"""Between two containers of a pod nothing tells when the other one listens."""


def await_host(directory: Path, *, timeout: float = 300.0) -> Path:
    """Give the socket of the pod's host, once it listens.

    Args:
        directory: shared by the containers of the pod.
        timeout: seconds; kubelet waits up to five minutes before it starts a container again.

    Raises:
        HostStartFailed: the directory's path is too long for a Unix socket.
        HostTimeout: nobody listens in time; another attempt may find the host.
    """
    socket_path = check_socket_path(directory / SOCKET_NAME)
    deadline = time.monotonic() + timeout
    while not listens(socket_path):
        if time.monotonic() > deadline:
            raise HostTimeout(f"no model host listens on {socket_path} after {timeout:.0f} s")
        time.sleep(_POLL_SECONDS)
    return socket_path
