"""Asking a host for its figures without being one of its clients: for drivers and operators.

It needs no arena and no model key, so it disturbs nobody and works while the model still loads.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from carpool.errors import ProtocolError
from carpool.host.messages import Stats, StatsRequest
from carpool.host.protocol import MAX_MESSAGE, decode, encode


def ask_figures(socket_path: Path, timeout: float) -> dict[str, Any] | None:
    """Ask the host that listens at a path for its figures (see `carpool.host.counters`).

    Args:
        socket_path: of the host.
        timeout: seconds to wait for the whole exchange.

    Returns:
        The figures; None where nobody listens, or answers in time.

    Raises:
        ProtocolError: what answers is no host of this version.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        try:
            asker.settimeout(timeout)
            asker.connect(str(socket_path))
            asker.send(encode(StatsRequest()))
            asker.settimeout(max(0.001, deadline - time.monotonic()))
            packet = asker.recv(MAX_MESSAGE)
        except OSError:
            return None
    if not packet:
        return None
    answer = decode(packet)
    if not isinstance(answer, Stats):
        raise ProtocolError(f"the host sent {type(answer).__name__}, expected Stats")
    return answer.figures
