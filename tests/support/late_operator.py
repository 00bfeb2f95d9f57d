"""The operator, with watches of pods that bring everything late.

    CARPOOL_LATE_SECONDS=2 python -m support.late_operator

So it decides by a view of the past, beside the answers to its own writes, which are newer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from carpool_operator.__main__ import main
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection, Guard
from carpool_operator.cluster.rate_limit import RateLimit

_LATE = float(os.environ.pop("CARPOOL_LATE_SECONDS"))


class LateClient(Client):
    """Its streams of pods run late."""

    async def lines(self, path: str, silence: float, **query: str) -> AsyncIterator[bytes]:
        lines = super().lines(path, silence, **query)
        if not path.endswith("/pods"):
            async for line in lines:
                yield line
            return
        clock = asyncio.get_running_loop().time
        came: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

        async def read() -> None:
            async for line in lines:
                came.put_nowait((clock() + _LATE, line))
            came.put_nowait(None)

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            try:
                while (one := await came.get()) is not None:
                    due, line = one
                    await asyncio.sleep(max(0.0, due - clock()))
                    yield line
            finally:
                reader.cancel()


def make_client(connection: Connection, limit: RateLimit, guard: Guard | None) -> Client:
    return LateClient(connection, limit, guard=guard)


if __name__ == "__main__":
    sys.exit(main(make_client=make_client))
