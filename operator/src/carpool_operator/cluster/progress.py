"""Asks drivers how far they are: GET http://<driver's IP>:7080/progress.

A driver that does not answer is no failure of its job: it may be busy, new, or behind a network
policy. Its last answer stands until it gives another.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from typing import Final

import aiohttp

from carpool_operator.cluster.client import Json
from carpool_operator.observability.metrics import POLLS

_TIMEOUT: Final = aiohttp.ClientTimeout(total=3.0)
_LARGEST: Final = 64 * 1024
"""Bytes of an answer; a driver's pod is a user's, and may say what it likes."""


class ProgressClient:
    """Asks at most `limit` drivers at once."""

    def __init__(self, limit: int = 20) -> None:
        """Open nothing yet."""
        self._turns = asyncio.Semaphore(limit)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, ip: str, port: int) -> Json | None:
        """What a driver answers; None where it gives no JSON object in time."""
        host = f"[{ip}]" if ipaddress.ip_address(ip).version == 6 else ip
        async with self._turns:
            try:
                answer = await self._get(f"http://{host}:{port}/progress")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                POLLS.labels(type(error).__name__).inc()
                return None
        POLLS.labels("answered").inc()
        return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, url: str) -> Json:
        if self._session is None:
            # No proxy from the environment: pods are reached directly.
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False)
        async with self._session.get(url, allow_redirects=False) as answer:
            answer.raise_for_status()
            content = bytearray()
            async for part in answer.content.iter_any():
                content += part
                if len(content) > _LARGEST:
                    raise ValueError(f"more than {_LARGEST} bytes")
        body = json.loads(content)
        if not isinstance(body, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - as any other wrong answer
        return body
