"""The JSON schema of an InferenceJob: for editors, and as the map of all fields.

Generated from the models, hence complete; what it says of a field (bounds, words, enums) is what
our error messages say, so that the editor and the program speak alike. Rules between fields are not
in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from carpool.spec.job import InferenceJob

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Node = dict[str, Any]
Location = tuple[str | int, ...]


class _Untitled(GenerateJsonSchema):
    """Without a title per field: pydantic makes them up from the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> Node:
    """JSON schema (draft 2020-12) of a job file, with the camelCase names of YAML."""
    return deepcopy(_schema())


@cache
def _schema() -> Node:
    generated = InferenceJob.model_json_schema(by_alias=True, schema_generator=_Untitled)
    return {"$schema": DIALECT, **generated}


def node_at(location: Location) -> Node | None:
    """The schema of the field at a path, references and "or null" resolved.

    Args:
        location: names of fields, keys of maps and indices of lists, from the root of the job.

    Returns:
        The schema; empty inside free-form objects; None where there is no such field.
    """
    node: Node | None = _schema()
    for step in location:
        if node is None:
            return None
        node = _child(node, step)
    return node


def _child(node: Node, step: str | int) -> Node | None:
    if not node:
        return node
    if isinstance(step, int):
        return _resolved(node["items"]) if "items" in node else None
    properties = node.get("properties", {})
    if step in properties:
        return _resolved(properties[step])
    values = node.get("additionalProperties", False)
    if values is True:
        return {}
    return _resolved(values) if isinstance(values, dict) else None


def _resolved(node: Node) -> Node:
    """Follow a reference and take the one alternative that is not null."""
    if "anyOf" in node:
        (node,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    if "$ref" in node:
        node = _schema()["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node


def fields(location: Location = ()) -> Iterator[Location]:
    """Paths of all fields below a path, a field before its own fields."""
    for name in (node_at(location) or {}).get("properties", {}):
        yield (*location, name)
        yield from fields((*location, name))
