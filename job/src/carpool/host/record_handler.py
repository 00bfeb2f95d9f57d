"""The contract of a handler that takes rows of any format: whoever connects says what its rows are.

An image handler fixes the shape of an item for all its clients. A record handler does not: each
client describes its records by a text, its `schema`, that the host passes on unread. Clients of one
schema share batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError

RecordResults = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
"""Per record its result's bytes: uint8 [n, bytes, 1], or n arrays [bytes, 1] of any lengths."""


class UserCodeError(Exception):
    """A user's function raised. The text names type and place, so it is passed on as it is."""


class RecordHandler(ABC):
    """Runs in the model host only."""

    @abstractmethod
    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Take the configuration's parameters; no work."""

    @abstractmethod
    def load(self) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be loaded.
        """

    @abstractmethod
    def predict(self, records: NDArray[np.uint8], schema: str) -> RecordResults:
        """Run the model on one batch (only ever one thread).

        Args:
            records: [n, record bytes]; must not be kept or written to.
            schema: what the clients said of them.

        Raises:
            HandlerError: the batch and the model do not fit together, whichever items it has.
            MemoryError: a smaller batch may fit.
            UserCodeError: an item of the batch is bad.
        """


def record_handler_class(reference: str) -> type[RecordHandler]:
    """Import the class that `module:Class` names.

    Raises:
        HandlerError: there is none, or it is no `RecordHandler`.
    """
    module_name, _, class_name = reference.partition(":")
    try:
        found = getattr(import_module(module_name), class_name, None)
    except (ImportError, ValueError) as error:
        raise HandlerError(f"handler {reference!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, RecordHandler)):
        raise HandlerError(f"handler {reference!r} is not a RecordHandler")
    return found
