"""The JSON schema of an InferenceJob: for editors, and as the map of all fields.

Generated from the models, hence complete; what it says of a field (bounds, words, enums) is what
our error messages say, so that the editor and the program speak alike. Rules between fields are not
in it; generators ask for a schema that has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from carpool.spec.job import InferenceJob
from carpool.spec.strict import StrictModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RULES = "carpool-rules"
"""Where `schema_with_rules` keeps the rules of an object."""

Node = dict[str, Any]
Location = tuple[str | int, ...]


class _Untitled(GenerateJsonSchema):
    """Without a title per field: pydantic makes them up from the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


class _WithRules(_Untitled):
    """Whose objects carry the rules of their models."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Node:
        """Add the rules to what pydantic makes of a model."""
        rules = schema["cls"].rules()
        generated = super().model_schema(schema)
        return {**generated, RULES: rules} if rules else generated


def schema_with_rules(model: type[StrictModel]) -> Node:
    """JSON schema of a model, for generators: an object with rules has them under `RULES`."""
    return model.model_json_schema(by_alias=True, schema_generator=_WithRules)


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
