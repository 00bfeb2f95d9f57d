"""The operator, killed by itself with -9 right before or right after its n-th write of a life.

    CARPOOL_DIE_AT=3:before python -m support.dying_operator

"Before" is before the request is sent, "after" when its answer has come and nothing was made of it.
Renewals of the Lease and events are not counted: no job depends on them, and they come at any time.
"""

from __future__ import annotations

import os
import signal
import sys

from kubernetes.aio.client.rest import RESTResponse

from carpool_operator.__main__ import main
from carpool_operator.cluster import client as client_module
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection, Guard
from carpool_operator.cluster.rate_limit import RateLimit

_NUMBER, _, _WHEN = os.environ.pop("CARPOOL_DIE_AT").partition(":")
_UNCOUNTED = ("/leases", "/events")


class DyingClient(Client):
    """Counts the writes of one client."""

    writes = 0

    async def _send(self, request: client_module._Request, limits: object) -> RESTResponse:
        counts = request.verb != "GET" and not any(part in request.path for part in _UNCOUNTED)
        if counts:
            DyingClient.writes += 1
        here = counts and DyingClient.writes == int(_NUMBER)
        if here and _WHEN == "before":
            _die(request)
        try:
            return await super()._send(request, limits)
        finally:  # a refusal is an answer, too
            if here:
                _die(request)


def _die(request: client_module._Request) -> None:
    sys.stderr.write(f"Dies {_WHEN} write {_NUMBER}: {request}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def make_client(connection: Connection, limit: RateLimit, guard: Guard | None) -> Client:
    return DyingClient(connection, limit, guard=guard)


if __name__ == "__main__":
    sys.exit(main(make_client=make_client))
