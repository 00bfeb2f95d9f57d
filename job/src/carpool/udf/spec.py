"""What the driver tells the workers about one call of `predict_batch_udf`. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Shapes = Sequence[Sequence[int] | None] | Mapping[int, Sequence[int]] | None
"""`input_tensor_shapes`: a shape per input, or shapes by index of the input."""


@dataclass(frozen=True, slots=True)
class ReturnType:
    """The part of a Spark type that a prediction is held against.

    Attributes:
        kind: of the column.
        fields: of a struct, each a scalar or an array; empty otherwise.
    """

    kind: Literal["scalar", "array", "struct"]
    fields: Mapping[str, Literal["scalar", "array"]]

    def as_json(self) -> dict[str, Any]:
        """For the host's configuration."""
        return {"kind": self.kind, "fields": dict(self.fields)}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> ReturnType:
        """Read what `as_json` gave."""
        return cls(found["kind"], found["fields"])


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One predict function: its code, unopened, and how to run it.

    Attributes:
        function_id: 32 hexadecimal digits, new with each call of `predict_batch_udf`.
        name: of `make_predict_fn`, for messages.
        pickled: `make_predict_fn`, by cloudpickle.
        return_type: what predictions are held against.
        batch_size: most rows of a batch.
        input_tensor_shapes: as the user gave them.
        idle_seconds: the host ends after so long without work.
        tasks: that are expected to share the host; 0 where the driver cannot know.
        threads: compute threads on a CPU; 0 for as many as the executor's process may use.
    """

    function_id: str
    name: str
    pickled: bytes
    return_type: ReturnType
    batch_size: int
    input_tensor_shapes: Shapes
    idle_seconds: float
    tasks: int
    threads: int
