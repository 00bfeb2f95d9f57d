"""A small record handler for tests of the host: no Spark, no pickled function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.host.record_handler import RecordHandler, RecordResults, UserCodeError

BAD = 251
"""First byte of a record at which `Echo` raises."""


class Echo(RecordHandler):
    """Answers a record with its schema's length, the batch's size, and itself `repeat` times."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._repeat = int(parameters.get("repeat", 1))
        self._calls = 0

    def load(self) -> None:
        """Nothing to load."""

    def predict(self, records: NDArray[np.uint8], schema: str) -> RecordResults:
        self._calls += 1
        if BAD in records[:, 0]:
            raise UserCodeError(f"call {self._calls} has a bad record")
        head = np.tile(np.array([len(schema), len(records)], np.uint8), (len(records), 1))
        return np.concatenate([head, np.tile(records, self._repeat)], axis=1)[:, :, None]
