"""What the launcher thread asks of a backend, and the warm-up that all backends share.

A batch goes through three calls, all of one process and two of one thread. `stage` begins to move
items to the device, `launch` begins the computation, and neither waits for the device where it can
work by itself; `collect` waits and gives the rows. A CPU simply computes in `launch`. Where `depth`
is 2, batch k+1 is staged and launched while k is being collected, so copies overlap computation.

What must stay true: `load`, `stage` and `launch` are called by one thread only, `collect` in the
order of the launches.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError, ModelError
from carpool.host.config import HostConfig
from carpool.host.model_files import ModelPaths
from carpool.vision.handler import Handler, LoadContext, Rows

Items = NDArray[Any]
"""Items of one request's part, [n, *item_shape], in the client's arena."""


class OutOfMemory(Exception):
    """The device's memory does not hold this batch; a smaller one may fit."""


class DeviceLost(Exception):
    """The device is unusable for this process and for any that follows it on the same device."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded.

    Attributes:
        device: the device's own name for itself.
        weights_bytes: memory of the model's weights.
        load_seconds: reading and building the model.
        warm_up_seconds: first batches and self-test.
        max_batch: largest batch that was proven to run.
        timings: (items, seconds) of warm batches, for the model of the device's time.
    """

    device: str
    weights_bytes: int
    load_seconds: float
    warm_up_seconds: float
    max_batch: int
    timings: tuple[tuple[int, float], ...]


class Backend(ABC):
    """Runs one handler on one device.

    Attributes:
        default_max_batch: where the configuration names none.
        depth: batches that may be launched and not collected.
        handler: the user's model code.
        max_batch: most items that `stage` accepts.
    """

    default_max_batch = 16

    def __init__(self, handler: Handler, config: HostConfig, generation: int) -> None:
        """Take what is to be run; touches neither device nor files.

        Args:
            handler: not loaded yet.
            config: of the host.
            generation: which child of the supervisor this is, from 1.
        """
        self.handler = handler
        self.config = config
        self.generation = generation
        self.depth = 1
        self.max_batch = config.max_batch or self.default_max_batch

    def load(self, model: ModelPaths) -> LoadReport:
        """Load the model, run first batches, prove what the host promises.

        Raises:
            ModelError: the model cannot be loaded or does not keep the handler contract.
        """
        begun = time.monotonic()
        context = LoadContext(
            device=self.config.device,
            precision=self.config.precision,
            model_path=model.path,
            max_batch=self.max_batch,
            files=model.files,
        )
        self.load_model(context)
        loaded = time.monotonic()
        timings = self._warm_up()
        return LoadReport(
            device=self.device_name(),
            weights_bytes=self.weights_bytes(),
            load_seconds=loaded - begun,
            warm_up_seconds=time.monotonic() - loaded,
            max_batch=self.max_batch,
            timings=timings,
        )

    @abstractmethod
    def load_model(self, context: LoadContext) -> None:
        """Prepare the device and have the handler load its model onto it."""

    @abstractmethod
    def device_name(self) -> str:
        """The device's own name for itself."""

    @abstractmethod
    def weights_bytes(self) -> int:
        """Memory of the loaded weights."""

    @abstractmethod
    def stage(self, parts: Sequence[Items]) -> Any:
        """Begin to move a batch to the device; at most `max_batch` items.

        Raises:
            OutOfMemory: the device's memory does not hold it.
        """

    @abstractmethod
    def launch(self, staged: Any) -> Any:
        """Begin to compute what `stage` gave.

        Raises:
            OutOfMemory: the device's memory does not hold it.
            DeviceLost: the device is unusable.
            Exception: whatever the handler raises for these items.
        """

    @abstractmethod
    def collect(self, running: Any) -> list[Rows]:
        """Wait for what `launch` gave.

        Returns:
            Per item its rows, float32 [k, row_width] with k ≤ output_rows.

        Raises:
            HandlerError: the handler returned something else.
            OutOfMemory, DeviceLost, Exception: as `launch`.
        """

    def attach(self, memory: NDArray[np.uint8]) -> None:  # noqa: B027 - for devices that need it
        """Items in this memory, a client's arena, may be staged from now on; any thread.

        This is where a device pins it.
        """

    def detach(self, memory: NDArray[np.uint8]) -> None:  # noqa: B027 - for devices that need it
        """Nothing in this memory will be staged again; any thread."""

    def run(self, parts: Sequence[Items]) -> list[Rows]:
        """One batch from items to rows."""
        return self.collect(self.launch(self.stage(parts)))

    def _warm_up(self) -> tuple[tuple[int, float], ...]:
        """First batches, small and large, with the results checked.

        Raises:
            ModelError: not even one item fits the device's memory, or the handler raises.
        """
        one = np.full((1, *self.handler.input_shape), 128, np.uint8)
        try:
            self.run([one])
            small = self._timed([one])
            large = self._largest_batch(one)
            if self.config.deterministic:
                self._prove_independence(one)
        except OutOfMemory as error:
            raise ModelError(f"one item does not fit the device's memory: {error}") from error
        except (DeviceLost, ModelError):
            raise
        except Exception as error:
            raise HandlerError(
                f"handler {self.config.handler} fails on a plain grey image: "
                f"{type(error).__name__}: {error}"
            ) from error
        return ((1, small), (self.max_batch, large)) if self.max_batch > 1 else ((1, small),)

    def _timed(self, parts: Sequence[Items]) -> float:
        begun = time.monotonic()
        self.run(parts)
        return time.monotonic() - begun

    def _largest_batch(self, one: Items) -> float:
        """Run the largest batch, halving it until it fits; gives its seconds."""
        while True:
            try:
                return self._timed([np.repeat(one, self.max_batch, axis=0)])
            except OutOfMemory:
                if self.max_batch == 1:
                    raise
                self.max_batch //= 2

    def _prove_independence(self, one: Items) -> None:
        """An item gives the same rows alone and as the last of a full batch, bit for bit."""
        noise = np.random.default_rng(0).integers(0, 256, (self.max_batch, *one.shape[1:]))
        companions = noise.astype(np.uint8)
        probe = companions[-1:]
        alone = self.run([probe])[0]
        together = self.run([companions])[-1]
        if not np.array_equal(alone, together):
            raise HandlerError(
                f"handler {self.config.handler} cannot run with batching.deterministic: an item's "
                "rows depend on the other items of its batch"
            )


def gather(parts: Sequence[Items], size: int | None) -> Items:
    """Put the parts of a batch into one array.

    Args:
        parts: at least one.
        size: items of the result, those past the parts' being zero; None for just the parts'.

    Returns:
        [n, *item_shape]; the part itself, not a copy, where one part is all.
    """
    count = sum(len(part) for part in parts)
    if len(parts) == 1 and size in (None, count):
        return parts[0]
    batch = np.empty((size or count, *parts[0].shape[1:]), parts[0].dtype)
    np.concatenate(parts, out=batch[:count])
    batch[count:] = 0
    return batch


def check_rows(found: Sequence[Any], count: int, handler: Handler) -> list[Rows]:
    """Hold what `predict` returned against the handler contract.

    Args:
        found: per item something numpy can read.
        count: items of the batch as `predict` got it.
        handler: whose contract.

    Raises:
        HandlerError: wrong number of items, too many rows, or rows of another width.
    """
    name = type(handler).__name__
    if len(found) != count:
        raise HandlerError(f"{name}.predict returned {len(found)} results for {count} items")
    checked: list[Rows] = []
    for rows in found:
        try:
            array = np.asarray(rows, np.float32)
        except (TypeError, ValueError) as error:
            raise HandlerError(f"{name}.predict returned no array of rows: {error}") from error
        if array.size == 0:
            array = array.reshape(0, handler.row_width)
        if array.ndim != 2 or array.shape[1] != handler.row_width:
            raise HandlerError(
                f"{name}.predict returned rows of shape {array.shape}, expected "
                f"[k, {handler.row_width}]"
            )
        if len(array) > handler.output_rows:
            raise HandlerError(
                f"{name}.predict returned {len(array)} rows for an item; its output_rows is "
                f"{handler.output_rows}"
            )
        checked.append(array)
    return checked
