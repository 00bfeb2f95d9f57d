"""Handlers that take records: each client's in its own format, on whatever device the handler uses.

There is no warm-up, since nobody but a client knows what a record looks like. The backend computes
in `launch`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.host.backends.base import (
    DEVICE_ERRORS,
    Backend,
    Items,
    LoadReport,
    OutOfMemory,
    ProcessSpoiled,
    gather,
)
from carpool.host.config import HostConfig
from carpool.host.memory import MemoryUse
from carpool.host.model_files import ModelPaths
from carpool.host.record_handler import RecordHandler, RecordResults, UserCodeError


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of one schema: uint8 [n, record bytes]."""

    records: NDArray[np.uint8]
    schema: str


class RecordBackend(Backend):
    """Runs a `RecordHandler`. Its clients need not agree on a format, so `slot_format` is None."""

    def __init__(self, handler: RecordHandler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; see `Backend`.

        Args:
            handler: not loaded yet.
            config: of the host.
            generation: which child of the supervisor this is, from 1.
        """
        super().__init__(config, generation)
        self._handler = handler

    def load(self, model: ModelPaths) -> LoadReport:  # noqa: ARG002 - the handler knows its files
        """Have the handler load its model."""
        begun = time.monotonic()
        self._handler.load()
        return LoadReport(
            device="chosen by the function",
            load_seconds=time.monotonic() - begun,
            warm_up_seconds=0.0,
            max_batch=self.max_batch,
            shapes=self.shapes,
            timings=(),
            memory=MemoryUse(),
        )

    def stage(self, parts: Sequence[Items], key: Hashable = None) -> RecordBatch:
        """Gather the parts; read-only, because a single part is the client's own memory."""
        records = gather(parts, self.shapes).view()
        records.flags.writeable = False
        return RecordBatch(records, str(key))

    def launch(self, staged: RecordBatch) -> RecordResults:
        """Compute.

        Raises:
            HandlerError, UserCodeError: as `RecordHandler.predict`.
            OutOfMemory: a smaller batch may fit.
            ProcessSpoiled: the device refuses this process.
        """
        try:
            return self._handler.predict(staged.records, staged.schema)
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except UserCodeError as error:
            if any(words in str(error) for words in DEVICE_ERRORS):
                raise ProcessSpoiled(str(error)) from error
            raise

    def collect(self, running: Any) -> Any:
        """`launch` has computed everything."""
        return running
