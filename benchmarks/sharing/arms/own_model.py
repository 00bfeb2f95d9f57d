"""Arms (a) and (b): the task has a model of its own, as `predict_batch_udf` gives it one.

One chunk at a time: it is copied to where the device takes it from, is inferred, and the next
follows. (a) and (b) differ in the process's life only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sharing.engines import Engine
from benchmarks.sharing.tasks import Chunk
from carpool.vision.handler import Rows


class OwnModel:
    """Asks an engine of this process."""

    def __init__(self, engine: Engine, pool: NDArray[np.uint8], chunk: int) -> None:
        self._engine, self._pool = engine, pool
        self._lane = engine.lane()
        self._buffer = self._lane.buffer(chunk)
        self._peak = 0

    def answers(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Rows]]]:
        """As `Way`."""
        for chunk in chunks:
            frames = self._buffer[: chunk.items]
            frames[:] = self._pool[chunk.first : chunk.first + chunk.items]
            yield chunk, self._lane.infer(frames)

    def facts(self) -> dict[str, Any]:
        """As `Way`."""
        return {
            "loads": 1,
            "weights_bytes": self._engine.weights_bytes(),
            "device_bytes": self._engine.device_bytes(),
        }


@contextmanager
def own_model(
    load: Callable[[], Engine], pool: NDArray[np.uint8], chunk: int, *, warm_up: int
) -> Iterator[OwnModel]:
    """Load the model and run so many chunks that do not count, the first not for memory either."""
    with load() as engine:
        way = OwnModel(engine, pool, chunk)
        warm = (Chunk(0, chunk, 0.0) for _ in range(warm_up))
        for number, _ in enumerate(way.answers(warm)):
            if number == 0:
                engine.begin_peak()
        yield way
