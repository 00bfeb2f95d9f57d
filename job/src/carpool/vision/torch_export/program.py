"""What an exported program takes and gives, read from its graph: shapes, dtypes, bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from carpool.vision.torch_export.expressions import symbol_of
from carpool.vision.torch_export.place import Place
from carpool.vision.torch_export.trees import leaves

_DTYPES = {1: "uint8", 2: "int8", 4: "int32", 5: "int64", 6: "float16", 7: "float32"}
_DTYPES |= {8: "float64", 12: "bool", 13: "bfloat16"}


@dataclass(frozen=True, slots=True)
class Dimension:
    """One size of a tensor.

    Attributes:
        low: the least it may be.
        high: the most; None without a bound.
    """

    low: int
    high: int | None

    @property
    def fixed(self) -> int | None:
        """The size where there is but one."""
        return self.low if self.low == self.high else None

    def __contains__(self, size: int) -> bool:
        return self.low <= size and (self.high is None or size <= self.high)

    def __str__(self) -> str:
        if self.fixed is not None:
            return str(self.fixed)
        return f"{self.low}..{'' if self.high is None else self.high}"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor that a program takes or gives.

    Attributes:
        dtype: torch's name for it.
        shape: its sizes.
    """

    dtype: str
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class ProgramType:
    """Inputs and outputs of a program in order; what is no tensor is given by its kind, a text.

    Attributes:
        inputs: by path, "0.0" being the first positional argument, "1.x" the keyword x.
        outputs: by path; the path is empty where forward returns one tensor.
    """

    inputs: dict[str, TensorType | str]
    outputs: dict[str, TensorType | str]


def program_type(program: Any, place: Place) -> ProgramType:
    """Read it from a program that was checked.

    Raises:
        ModelFormatError: graph, signature and trees contradict each other.
    """
    module = program["graph_module"]
    [call] = module["module_call_graph"]
    taken = _arguments(module["signature"]["input_specs"], "user_input", "constant_input")
    given = _arguments(module["signature"]["output_specs"], "user_output")
    found = []
    for what, arguments, tree in (
        ("inputs", taken, call["signature"]["in_spec"]),
        ("outputs", given, call["signature"]["out_spec"]),
    ):
        paths = leaves(tree)
        if len(paths) != len(arguments):
            raise place.malformed(f"has {len(arguments)} {what}, and {len(paths)} in its tree")
        types = [_type(argument, program, place) for argument in arguments]
        found.append(dict(zip(paths, types, strict=True)))
    return ProgramType(*found)


def _arguments(specs: list[Any], *kinds: str) -> list[Any]:
    return [
        value["arg"] if "arg" in value else value["value"]
        for spec in specs
        for kind, value in spec.items()
        if kind in kinds
    ]


def _type(argument: Any, program: Any, place: Place) -> TensorType | str:
    [(kind, value)] = argument.items()
    if kind != "as_tensor":
        return str(kind).removeprefix("as_")
    meta = program["graph_module"]["graph"]["tensor_values"].get(value["name"])
    if meta is None:
        raise place.malformed(f"says nothing about tensor {value['name']}")
    dtype = _DTYPES.get(meta["dtype"], f"dtype {meta['dtype']}")
    return TensorType(dtype, tuple(_dimension(size, program) for size in meta["sizes"]))


def _dimension(size: Any, program: Any) -> Dimension:
    if "as_int" in size:
        return Dimension(size["as_int"], size["as_int"])
    symbol = symbol_of(size["as_expr"]["expr_str"])
    bounds = program["range_constraints"].get(symbol, {})
    return Dimension(max(1, bounds.get("min_val") or 0), bounds.get("max_val"))
