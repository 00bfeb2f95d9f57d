"""Small numpy handlers for tests of the model host.

`Digest` answers with numbers that only this very item gives, so a result that was routed to the
wrong item or client is seen. What it should do besides is asked for by an item's first byte.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from carpool.errors import ModelNotFound
from carpool.host.backends.base import ProcessSpoiled
from carpool.vision.handler import Handler, Image, LoadContext, Rows

SHAPE = (8, 6, 3)
OUTPUT_ROWS = 4
ROW_WIDTH = 6

GATED = 250
"""First byte of an item at which `Digest` announces itself and waits at its gate."""
BAD = 251
"""First byte of an item at which `Digest` raises."""
BROKEN = 252
"""First byte of an item at which `Digest` breaks the handler contract."""


def digest(item: NDArray[np.uint8]) -> Rows:
    """The rows of an item: one to three of them, by its second byte."""
    flat = item.reshape(-1).astype(np.int64)
    weights = np.arange(flat.size) % 251
    count = int(flat[1]) % 3 + 1
    row = [flat.sum(), (flat * weights).sum() % 65521, flat[1], flat[-1], flat.size, 0]
    rows = np.tile(np.asarray(row, np.float32), (count, 1))
    rows[:, 5] = np.arange(count)
    return rows


def make_items(count: int, seed: int) -> NDArray[np.uint8]:
    """Items of random content, none of which asks for anything."""
    items = np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    items[:, 0, 0, 0] = 1
    return items


class Digest(Handler):
    """Parameters: `announce` and `gate` name pipes (FIFOs); `missing` a file that load wants."""

    framework: ClassVar[Literal["torch", "numpy"]] = "numpy"
    input_shape = SHAPE
    output_rows = OUTPUT_ROWS
    row_width = ROW_WIDTH

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        if "shape" in parameters:
            height, width, channels = parameters["shape"]
            self.input_shape = (height, width, channels)

    def preprocess(self, frame: Image, out: Image) -> None:
        out[:] = frame

    def load(self, context: LoadContext) -> None:
        if "missing" in self._parameters:
            raise ModelNotFound(f"weights {self._parameters['missing']} do not exist")
        if self._parameters.get("load") == "crash":
            if "announce" in self._parameters:
                announce(self._parameters["announce"])
            os.abort()
        if self._parameters.get("load") == "error":
            raise RuntimeError("the device is busy")
        if "load_gate" in self._parameters:
            pass_gate(self._parameters["load_gate"])
        self._weights = np.zeros(1000, np.float32)

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        firsts = batch.reshape(len(batch), -1)[:, 0]
        if BAD in firsts:
            raise ValueError("an item that cannot be inferred")
        if BROKEN in firsts:
            return []
        if GATED in firsts and "announce" in self._parameters:
            announce(self._parameters["announce"])
            pass_gate(self._parameters["gate"])
        return [digest(item) for item in batch]

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        return rows


class Idle(Digest):
    """Does nothing, so that what is measured is the way there and back."""

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        rows = np.zeros((3, self.row_width), np.float32)
        return [rows] * len(batch)


class Stuck(Digest):
    """Hangs inside a library that does not give Python's lock back: no thread runs any more."""

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        if any(bytes(item[:2]) == b"\xde\xad" for item in batch.reshape(len(batch), -1)):
            announce(self._parameters["announce"])
            generation = Path(self._parameters.get("once", "/nonexistent"))
            if not generation.exists():
                if "once" in self._parameters:
                    generation.touch()
                ctypes.PyDLL(None).pause()
        return super().predict(batch)


class Helped(Digest):
    """Has a helper process, as loaders and compilers do, and answers with its process id."""

    def load(self, context: LoadContext) -> None:
        super().load(context)
        self._helper = os.fork()
        while self._helper == 0:
            signal.pause()

    def predict(self, batch: NDArray[np.uint8]) -> Sequence[Any]:
        return [np.full((1, ROW_WIDTH), self._helper, np.float32)] * len(batch)


class SpoiledByGraphs(Digest):
    """Cannot be loaded by a process that does not leave out recording."""

    def load(self, context: LoadContext) -> None:
        if ("--without", "cuda_graphs") not in pairwise(sys.argv):
            raise ProcessSpoiled("a batch cannot be recorded", "cuda_graphs")
        super().load(context)


class LeavesOrphan(Digest):
    """Starts a process that starts another and ends: whoever is process 1 gets it."""

    def load(self, context: LoadContext) -> None:
        super().load(context)
        middle = os.fork()
        if middle == 0:
            os.fork()
            os._exit(0)
        os.waitpid(middle, 0)


def announce(pipe: str) -> None:
    """Say to the test at the other end that this point is reached."""
    with Path(pipe).open("wb", buffering=0) as stream:
        stream.write(b"a")


def pass_gate(gate: str) -> None:
    """Wait until the test opens this gate."""
    with Path(gate).open("rb", buffering=0) as stream:
        stream.read(1)
