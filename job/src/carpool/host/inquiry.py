"""Ask a running host for its figures, without becoming a client of it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from carpool.errors import ProtocolError
from carpool.host.messages import Stats, StatsRequest
from carpool.host.protocol import MAX_MESSAGE, decode, encode

TIMEOUT_SECONDS = 2.0


def ask_figures(socket_path: Path, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any] | None:
    """Give the host's figures (see `carpool.host.counters`).

    Args:
        socket_path: where the host listens.
        timeout: seconds. A host whose child is being restarted lets askers wait.

    Returns:
        None if there is no answer in time, whatever the reason.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.settimeout(timeout)
        try:
            asker.connect(str(socket_path))
            asker.send(encode(StatsRequest()))
            answer = decode(asker.recv(MAX_MESSAGE + 1))
        except (OSError, ProtocolError):
            return None
    return answer.figures if isinstance(answer, Stats) else None
