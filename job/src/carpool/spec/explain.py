"""Turn pydantic's errors into lines for the author of a job file.

A line names the field as it stands in the file, what is expected there and what was found. What is
expected is read from the JSON schema, so no message can drift from the rule it explains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from carpool.spec.rules import RULE_ERROR
from carpool.spec.schema import Location, Node, fields, node_at
from carpool.spec.strict import INT32_MAX, INT64_MAX

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST_VALUE = 60


def explain(error: ValidationError) -> list[str]:
    """One line for each error, in the order of the fields."""
    return [_line(details) for details in error.errors(include_url=False)]


def written(location: Sequence[str | int]) -> str:
    """A path as people write it: `spec.input.uris[0]`, `spec.spark.conf["spark.x"]`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def _line(details: ErrorDetails) -> str:
    location = details["loc"]
    where = written(location) or "the document"
    kind = details["type"]
    if kind == RULE_ERROR:
        return f"{where}: {details['msg']}"
    if kind == "value_error":
        return f"{where}: {details['msg'].removeprefix('Value error, ')}"
    if kind == "extra_forbidden":
        return f"{where}: unknown field; {_suggestion(location)}"
    node = node_at(location)
    expected = _expected(node) if node else "a value that JSON can hold"
    if kind == "missing":
        return f"{where}: missing; expected {expected}"
    return f"{where}: expected {expected}, found {_found(details['input'], node)}"


def _suggestion(location: Location) -> str:
    """Which field may have been meant by an unknown one."""
    *parent, name = location
    siblings = list((node_at(tuple(parent)) or {}).get("properties", {}))
    folded = {_folded(sibling): sibling for sibling in siblings}
    near = get_close_matches(_folded(str(name)), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]}?"
    elsewhere = [path for path in fields(("spec",)) if _folded(str(path[-1])) == _folded(str(name))]
    if elsewhere:
        return f"did you mean {' or '.join(written(path) for path in elsewhere)}?"
    return f"known here: {', '.join(siblings)}"


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _expected(node: Node) -> str:
    """What a field takes, in words."""
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    if "patternErrorMessage" in node:
        return str(node["patternErrorMessage"])
    return _EXPECTED_OF_TYPE[node["type"]](node)


def _expected_integer(node: Node) -> str:
    least, most = node["minimum"], node["maximum"]
    # The largest representable number is no bound that anybody needs to read about.
    if most in (INT32_MAX, INT64_MAX):
        return f"an integer ≥ {least}"
    return f"an integer from {least} to {most}"


def _expected_object(node: Node) -> str:
    if "required" in node:
        return f"an object with at least {', '.join(node['required'])}"
    if "properties" in node:
        return f"an object with any of {', '.join(node['properties'])}"
    if "maxProperties" in node:
        return f"an object of at most {node['maxProperties']} fields"
    return "an object"


_EXPECTED_OF_TYPE: dict[str, Callable[[Node], str]] = {
    "integer": _expected_integer,
    "boolean": lambda _: "true or false",
    "string": lambda node: f"a string of at most {node['maxLength']} characters",
    "array": lambda node: f"a list of {node.get('minItems', 0)} to {node['maxItems']} items",
    "object": _expected_object,
}


def _found(value: Any, node: Node | None) -> str:
    """What stands in the file, shortened."""
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return f"an object of {len(value)} fields" if value else "an empty object"
    if not (value is None or isinstance(value, str | bool | int | float)):
        return f"a {type(value).__name__}"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        return f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"
    if node is not None and node.get("type") == "string" and isinstance(value, bool | int | float):
        return f"{text} (a string needs quotes: '{text}')"
    return text
