"""The tasks of arms (c) and (c+)."""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.arms.grpc_messages import (
    FLOAT,
    REGISTER,
    REGISTRATION,
    REQUEST,
    SERVICE,
    SHARED,
    options,
    pack_floats,
    unpack_rows,
)
from benchmarks.sharing.tasks import Chunk
from carpool.vision.handler import Rows

Pool = NDArray[np.uint8]
IN_FLIGHT = 2
"""Chunks that a task of (c+) has outstanding: one is computed while the next is copied."""


class FloatClient:
    """(c): one message at a time, with all pixels in it as float32."""

    def __init__(self, channel: Any, pool: Pool) -> None:
        self._call = channel.unary_unary(f"/{SERVICE}/{FLOAT}")
        self._pool = pool

    def answers(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Rows]]]:
        """As `Way`."""
        for chunk in chunks:
            message = pack_floats(self._pool[chunk.first : chunk.first + chunk.items])
            yield chunk, unpack_rows(self._call(message))

    def facts(self) -> dict[str, Any]:
        """As `Way`: the server holds it all."""
        return {}


class SharedClient:
    """(c+): frames are copied into shared memory, two chunks at a time are on their way."""

    def __init__(self, channel: Any, pool: Pool, chunk: int) -> None:
        self._call = channel.unary_unary(f"/{SERVICE}/{SHARED}")
        self._pool = pool
        size = IN_FLIGHT * chunk * pool[0].nbytes
        descriptor = os.memfd_create("benchmark", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            memory = mmap.mmap(descriptor, size)
            # All of it is written before the clock starts: no page is met for the first time.
            self._slots = np.frombuffer(memory, np.uint8).reshape(IN_FLIGHT, chunk, *pool.shape[1:])
            self._slots[:] = 0
            register = channel.unary_unary(f"/{SERVICE}/{REGISTER}")
            registration = REGISTRATION.pack(os.getpid(), descriptor, IN_FLIGHT, chunk)
            self._number, _, _ = REQUEST.unpack(register(registration))
        finally:
            os.close(descriptor)

    def answers(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Rows]]]:
        """As `Way`."""
        free = deque(range(IN_FLIGHT))
        asked: deque[tuple[Chunk, int, Any]] = deque()
        for chunk in chunks:
            slot = free.popleft()
            self._slots[slot, : chunk.items] = self._pool[chunk.first : chunk.first + chunk.items]
            request = REQUEST.pack(self._number, slot, chunk.items)
            asked.append((chunk, slot, self._call.future(request)))
            while asked and (not free or asked[0][2].done()):
                yield self._take(asked, free)
        while asked:
            yield self._take(asked, free)

    def _take(
        self, asked: deque[tuple[Chunk, int, Any]], free: deque[int]
    ) -> tuple[Chunk, list[Rows]]:
        chunk, slot, answer = asked.popleft()
        rows = unpack_rows(answer.result())
        free.append(slot)
        return chunk, rows

    def facts(self) -> dict[str, Any]:
        """As `Way`: the server holds it all."""
        return {}


@contextmanager
def grpc_client(
    address: Path, pool: Pool, chunk: int, *, floats: bool
) -> Iterator[FloatClient | SharedClient]:
    """A client of (c), or of (c+), that is connected."""
    import grpc  # noqa: PLC0415 - must not be there before a process forks

    with grpc.insecure_channel(f"unix://{address}", options=options()) as channel:
        grpc.channel_ready_future(channel).result(60)
        yield FloatClient(channel, pool) if floats else SharedClient(channel, pool, chunk)
