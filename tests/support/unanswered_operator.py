"""The operator, whose writes to jobs come to the API server and are never answered.

python -m support.unanswered_operator
"""

from __future__ import annotations

import asyncio
import sys

from kubernetes.aio.client.rest import RESTResponse

from carpool_operator.__main__ import main
from carpool_operator.cluster import client as client_module
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection, Guard
from carpool_operator.cluster.rate_limit import RateLimit


class UnansweredClient(Client):
    """It waits for ever."""

    async def _send(self, request: client_module._Request, limits: object) -> RESTResponse:
        answer = await super()._send(request, limits)
        if request.verb != "GET" and "/inferencejobs/" in request.path:
            await asyncio.Event().wait()
        return answer


def make_client(connection: Connection, limit: RateLimit, guard: Guard | None) -> Client:
    return UnansweredClient(connection, limit, guard=guard)


if __name__ == "__main__":
    sys.exit(main(make_client=make_client))
