"""The schema of models/model.json and of the configs beside it, as far as it is known to be safe.

Follows torch/_export/serde/schema.py, schema version 8. Three kinds of fields are treated apart:
names, which torch puts into generated source and must be identifiers; texts that torch evaluates,
which have a grammar each; and what inference does not need (where a node came from, how modules
called each other), which torch never gets.
"""

from __future__ import annotations

import keyword
import re
from typing import Any

from carpool.vision.torch_export.expressions import SYMBOL, check_expression, check_guard
from carpool.vision.torch_export.operators import check_target
from carpool.vision.torch_export.place import Place
from carpool.vision.torch_export.schema import (
    Check,
    boolean,
    dropped,
    empty,
    integer,
    listed,
    mapped,
    number,
    one_of,
    optional,
    pattern,
    struct,
    text,
    union,
)
from carpool.vision.torch_export.trees import check_tree

SCHEMA_MAJOR = 8

_TAKEN = frozenset({*keyword.kwlist, "self", "torch", "pytree", "fx_pytree", "getattr"})

name = pattern(re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,511}"), "an identifier", refused=_TAKEN)
"""Of a value in the graph: torch writes it into the source of the function it generates."""

_RANGE = re.compile(rf"{SYMBOL.pattern}|(?![uz])[A-Za-z0-9_+*/(), -]{{1,256}}")
"""A symbol or an expression of some, only compared. Torch counts up to the number after a u or
zuf, which are sizes that depend on data."""

qualified_name = pattern(
    re.compile(r"(?!__)[A-Za-z0-9_]{1,255}(?:\.(?!__)[A-Za-z0-9_]{1,255}){0,63}"),
    "the dotted name of a parameter",
)
"""Of a parameter, buffer or constant: torch sets an attribute by it and writes it into source."""


def _expression(value: Any, place: Place) -> str:
    found = text(value, place)
    check_expression(found, place)
    return found


def _guard(value: Any, place: Place) -> str:
    found = text(value, place)
    check_guard(found, place)
    return found


def _target(value: Any, place: Place) -> str:
    found = text(value, place)
    check_target(found, place)
    return found


def _tree(value: Any, place: Place) -> str:
    if not isinstance(value, str):
        raise place.malformed("expected a text")
    return check_tree(value, place)


_size = integer(0)
_named = struct({"name": name})
_none = union({"as_none": boolean})
_device = struct({"type": one_of("cpu", "cuda"), "index": optional(integer(0, 1024))})
_scalar_type = integer(0, 64)
_layout = integer(0, 16)
_memory_format = integer(0, 16)
_hint = optional(union({"as_int": integer(), "as_bool": boolean, "as_float": number}))
_symbolic = struct({"expr_str": _expression}, {"hint": _hint})
_sym_int = union({"as_expr": _symbolic, "as_int": integer()})
_sym_float = union({"as_expr": _symbolic, "as_float": number})
_sym_bool = union({"as_expr": _symbolic, "as_bool": boolean})
_sym_int_argument = union({"as_name": name, "as_int": integer()})
_sym_float_argument = union({"as_name": name, "as_float": number})
_sym_bool_argument = union({"as_name": name, "as_bool": boolean})
_optional_tensor = union({"as_tensor": _named, "as_none": boolean})


def _tensor_meta(size: Check) -> Check:
    return struct(
        {
            "dtype": _scalar_type,
            "sizes": listed(size),
            # Gradients are for training; torch gets false.
            "requires_grad": dropped(False),
            "device": _device,
            "strides": listed(size),
            "storage_offset": size,
            "layout": _layout,
        }
    )


_constants = {
    "as_none": boolean,
    "as_int": integer(),
    "as_float": number,
    "as_bool": boolean,
}
_values = {
    "as_none": boolean,
    "as_tensor": _named,
    "as_tensors": listed(_named),
    "as_sym_int": _sym_int_argument,
    "as_sym_ints": listed(_sym_int_argument),
    "as_sym_float": _sym_float_argument,
    "as_sym_floats": listed(_sym_float_argument),
    "as_sym_bool": _sym_bool_argument,
    "as_sym_bools": listed(_sym_bool_argument),
    "as_optional_tensor": _optional_tensor,
    "as_optional_tensors": listed(_optional_tensor),
}
_argument = union(
    _constants
    | _values
    | {
        "as_ints": listed(integer()),
        "as_floats": listed(number),
        "as_bools": listed(boolean),
        # Only operators of the list get it, and none of them takes a text for a path or code.
        "as_string": text,
        "as_scalar_type": _scalar_type,
        "as_memory_format": _memory_format,
        "as_layout": _layout,
        "as_device": _device,
        "as_complex": struct({"real": number, "imag": number}),
    }
)
_value = union(_constants | _values)

_node = struct(
    {
        "target": _target,
        "inputs": listed(
            struct(
                {"name": text, "arg": _argument},
                {"kind": optional(integer(0, 2))},
            )
        ),
        "outputs": listed(_value),
        "metadata": dropped({}),
    },
    {"is_hop_single_tensor_return": optional(boolean), "name": optional(name)},
)

_graph = struct(
    {
        "inputs": listed(_value),
        "outputs": listed(_value),
        "nodes": listed(_node),
        "tensor_values": mapped(name, _tensor_meta(_sym_int)),
        "sym_int_values": mapped(name, _sym_int),
        "sym_bool_values": mapped(name, _sym_bool),
    },
    {
        "is_single_tensor_return": boolean,
        "custom_obj_values": empty("an object of a class, loaded by unpickling"),
        "sym_float_values": mapped(name, _sym_float),
    },
)

_signature = struct(
    {
        "input_specs": listed(
            union(
                {
                    "user_input": struct({"arg": _value}),
                    "parameter": struct({"arg": _named, "parameter_name": qualified_name}),
                    "buffer": struct(
                        {"arg": _named, "buffer_name": qualified_name, "persistent": boolean}
                    ),
                    "tensor_constant": struct(
                        {"arg": _named, "tensor_constant_name": qualified_name}
                    ),
                    "constant_input": struct({"name": name, "value": union(_constants)}),
                }
            )
        ),
        "output_specs": listed(
            union(
                {
                    "user_output": struct({"arg": _value}),
                    "buffer_mutation": struct({"arg": _named, "buffer_name": qualified_name}),
                }
            )
        ),
    }
)

_call = struct(
    {
        "inputs": dropped([]),
        "outputs": dropped([]),
        "in_spec": _tree,
        "out_spec": _tree,
    },
    {"forward_arg_names": optional(listed(name))},
)
_call_entry = struct({"fqn": text}, {"signature": optional(_call)})


def _call_graph(value: Any, place: Place) -> list[Any]:
    """Only the program's own call; those of its modules serve to take it apart again."""
    entries = listed(_call_entry)(value, place)
    own = [entry for entry in entries if entry["fqn"] == "" and entry.get("signature")]
    if len(own) != 1:
        raise place.malformed(f"found {len(own)} signatures of forward, expected one")
    return own


PROGRAM: Check = struct(
    {
        "graph_module": struct(
            {"graph": _graph, "signature": _signature, "module_call_graph": _call_graph},
            {"metadata": dropped({}), "treespec_namedtuple_fields": dropped({})},
        ),
        "opset_version": mapped(one_of("aten"), integer(0)),
        "range_constraints": mapped(
            pattern(_RANGE, "the symbol of a size"),
            struct({"min_val": optional(integer()), "max_val": optional(integer())}),
        ),
        "schema_version": struct({"major": integer(0), "minor": integer(0)}),
    },
    {
        "verifiers": listed(one_of("TRAINING", "ATEN")),
        "torch_version": pattern(re.compile(r"[A-Za-z0-9.+<=_-]{1,64}"), "a version of torch"),
        # Guards restate what the graph's own sizes say; they are read, and left out.
        "guards_code": lambda value, place: listed(_guard)(value, place) and [],
    },
)
"""The whole of models/model.json."""


def _not_pickled(value: Any, place: Place) -> bool:
    if value is not False:
        raise place.unsafe(
            "its value is a pickle",
            "save a program whose weights are plain tensors, not subclasses of torch.Tensor",
        )
    return False


def payload_config(entry: str) -> Check:
    """The schema of a config of weights ("weight") or constants ("tensor")."""
    form = re.compile(rf"{entry}_[0-9]{{1,9}}")
    return struct(
        {
            "config": mapped(
                qualified_name,
                struct(
                    {
                        "path_name": pattern(form, f"{entry}_ and a number"),
                        "is_param": boolean,
                        "use_pickle": _not_pickled,
                        "tensor_meta": _tensor_meta(union({"as_int": _size})),
                    }
                ),
            )
        }
    )
