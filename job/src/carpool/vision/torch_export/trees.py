"""How a program's inputs and outputs are nested: texts from which torch builds pytrees.

Reading such a text, torch imports modules that the text names (the factory of a defaultdict, an
enum among a dict's keys). So only tuples, lists, dicts with plain names as keys, and leaves pass;
what torch gets is written anew.
"""

from __future__ import annotations

import json
import re
from typing import Any

from carpool.vision.torch_export.place import Place, shown

_PROTOCOL = 1
_MAX_DEPTH = 20
_MAX_CHARACTERS = 1 << 20
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_SEQUENCES = frozenset({"builtins.tuple", "builtins.list"})


def check_tree(text: str, place: Place) -> str:
    """The text of a tree, written anew.

    Raises:
        ModelUnsafe: it holds anything but tuples, lists and dicts.
        ModelFormatError: it is no such text.
    """
    if len(text) > _MAX_CHARACTERS:
        raise place.malformed("is too long for a tree of inputs or outputs")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise place.malformed(f"is no JSON: {error}") from error
    if not isinstance(found, list) or len(found) != 2 or found[0] != _PROTOCOL:
        raise place.malformed(f"found {shown(text)}, expected a tree of protocol {_PROTOCOL}")
    return json.dumps([_PROTOCOL, _node(found[1], place, _MAX_DEPTH)])


def leaves(text: str) -> list[str]:
    """Paths of the leaves of a tree that was checked, such as "0.1" or "boxes"."""
    return list(_leaves(json.loads(text)[1], ""))


def _leaves(node: dict[str, Any], path: str) -> list[str]:
    if node["type"] is None:
        return [path]
    keys = json.loads(node["context"]) if node["type"] == "builtins.dict" else None
    return [
        leaf
        for index, child in enumerate(node["children_spec"])
        for leaf in _leaves(child, f"{path}.{keys[index] if keys else index}".lstrip("."))
    ]


def _node(node: object, place: Place, depth: int) -> dict[str, Any]:
    if depth == 0 or not isinstance(node, dict):
        raise place.malformed(f"found {shown(node)}, expected a node of a tree")
    kind, context, children = (node.get(key) for key in ("type", "context", "children_spec"))
    if set(node) != {"type", "context", "children_spec"} or not isinstance(children, list):
        raise place.malformed(f"found {shown(node)}, expected a node of a tree")
    if kind is None and context is None and not children:
        return {"type": None, "context": None, "children_spec": []}
    if kind == "builtins.dict":
        context = json.dumps(_keys(context, len(children), place))
    elif kind in _SEQUENCES and context == "null":
        pass
    else:
        raise place.unsafe(
            f"found type {shown(kind)} with context {shown(context)}",
            "let forward take and return tensors, tuples, lists or dicts",
        )
    return {
        "type": kind,
        "context": context,
        "children_spec": [_node(child, place, depth - 1) for child in children],
    }


def _keys(context: object, count: int, place: Place) -> list[str]:
    try:
        keys = json.loads(context) if isinstance(context, str) else None
    except (ValueError, RecursionError) as error:
        raise place.malformed(f"is no JSON: {error}") from error
    named = isinstance(keys, list) and all(isinstance(k, str) and _KEY.fullmatch(k) for k in keys)
    if not named or not isinstance(keys, list) or len(keys) != count:
        raise place.unsafe(f"found keys {shown(context)}, expected {count} plain names")
    return keys
