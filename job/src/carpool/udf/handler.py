"""The host's side of a predict function: opens it once, and runs it on records of all tasks."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpool.errors import HandlerError
from carpool.host.record_handler import RecordHandler, RecordResults, UserCodeError
from carpool.udf.arguments import arguments
from carpool.udf.opening import open_function
from carpool.udf.predictions import check_predictions
from carpool.udf.records import RecordFormat, read_records
from carpool.udf.results import write_results
from carpool.udf.spec import ReturnType, Shapes

SCHEMA_MARK = "schema-"
"""A schema that begins so is the name of a file, beside the function's, that holds it."""
_TRACE_CHARACTERS = 600
"""Of a traceback's end; a message to a client holds a kilobyte in all."""
_MESSAGE_CHARACTERS = 350


class PredictFunction(RecordHandler):
    """What `make_predict_fn` gave, called with batches.

    Parameters: `function` (file of the pickled function), `name`, `return_type` and `shapes` as
    `host_parameters` gives them.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Take the parameters; the function is not opened yet."""
        self._path = Path(parameters["function"])
        self._name = parameters["name"]
        self._expected = ReturnType.of_json(parameters["return_type"])
        self._shapes = _shapes(parameters["shapes"])
        self._predict: Callable[..., Any] | None = None
        self._inputs = 0
        self._formats: dict[str, RecordFormat] = {}

    def load(self) -> None:
        """Open the function and have it build the model.

        Raises:
            HandlerError: it cannot be opened, it raised, or what it gave cannot be called.
        """
        make = open_function(self._path.read_bytes())
        try:
            predict = make()
        except Exception as error:
            raise HandlerError(f"{self._name} failed: {describe(error)}") from error
        try:
            self._inputs = len(inspect.signature(predict).parameters)
        except (TypeError, ValueError) as error:
            raise HandlerError(
                f"{self._name} must return a predict function whose parameters can be counted, it "
                f"returned {type(predict)}: {error}"
            ) from error
        self._predict = predict

    def predict(self, records: NDArray[np.uint8], schema: str) -> RecordResults:
        """Run the function on one batch.

        Args:
            records: [n, record bytes].
            schema: their format.

        Raises:
            HandlerError: columns, function and return type do not fit together.
            MemoryError: the function ran out of memory, of whatever kind.
            UserCodeError: the function raised something else.
        """
        if self._predict is None:
            raise HandlerError(f"{self._name} is not loaded")
        record = self._record_format(schema)
        inputs = arguments(read_records(record, records), record, self._inputs, self._shapes)
        try:
            found = self._predict(*inputs)
        except Exception as error:
            if _is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise UserCodeError(describe(error)) from error
        return write_results(check_predictions(found, len(records), self._expected), len(records))

    def _record_format(self, schema: str) -> RecordFormat:
        if schema not in self._formats:
            is_file = schema.startswith(SCHEMA_MARK)
            text = self._path.with_name(schema).read_text() if is_file else schema
            self._formats[schema] = RecordFormat.of_schema(text)
        return self._formats[schema]


def host_parameters(
    function: Path, name: str, return_type: ReturnType, shapes: Shapes
) -> dict[str, Any]:
    """The parameters of a `PredictFunction`, as JSON can hold them."""
    form: Any = None
    if isinstance(shapes, Mapping):
        form = {str(index): list(shape) for index, shape in shapes.items()}
    elif shapes is not None:
        form = [None if shape is None else list(shape) for shape in shapes]
    return {
        "function": str(function),
        "name": name,
        "return_type": return_type.as_json(),
        "shapes": form,
    }


def describe(error: BaseException) -> str:
    """Type and message of a user's exception, and the end of its traceback without our frames."""
    message = f"{type(error).__name__}: {error}"
    if len(message) > _MESSAGE_CHARACTERS:
        message = message[: _MESSAGE_CHARACTERS - 1] + "…"
    # The first frame is the call in this module.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    trace = "".join(traceback.format_list(frames)).rstrip()
    if len(trace) > _TRACE_CHARACTERS:
        trace = "…" + trace[1 - _TRACE_CHARACTERS :]
    return f"{message}\n{trace}" if trace else message


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a framework says that memory ran out; told by name, none of them is imported here."""
    return isinstance(error, MemoryError) or type(error).__name__ in (
        "OutOfMemoryError",  # torch
        "ResourceExhaustedError",  # TensorFlow
    )


def _shapes(form: Any) -> Shapes:
    if isinstance(form, Mapping):
        return {int(index): shape for index, shape in form.items()}
    shapes: Shapes = form
    return shapes
