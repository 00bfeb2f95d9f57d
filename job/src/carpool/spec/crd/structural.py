"""From a model to the structural schema that a Kubernetes API server accepts.

An API server takes a small part of JSON schema, and drops or refuses the rest. So every keyword
that pydantic emits is known here by name and either carried over or translated; anything else, and
anything without a description or a bound, is an error when the definition is generated, never a
rule that is silently lost. https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/

What is translated:

* references are written out; "or null" is dropped: an API server removes null before it looks;
* a form (pattern) becomes a CEL rule, whose message can say in words what was expected;
* rules between fields (`StrictModel.rules`) become CEL rules;
* a nested object whose fields have defaults gets the default {}, so that these apply;
* free-form objects become maps of anything. As objects of unknown fields CEL would find {a: 1} and
  {b: 1} equal, and a rule against changes would let that pass (seen in Kubernetes 1.35).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from carpool.spec.rules import Rule
from carpool.spec.schema import RULES, Node, schema_with_rules
from carpool.spec.strict import INT32_MAX, INT64_MAX, StrictModel

VALIDATIONS: Final = "x-kubernetes-validations"
_ANYTHING: Final = "x-kubernetes-preserve-unknown-fields"
_LIST_TYPE: Final = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys")

# A title is what pydantic makes of the name; an API server has no use for it.
_ANNOTATIONS: Final = {"type", "title", "description", "default", "examples"}
_KNOWN: Final[dict[str, set[str]]] = {
    "boolean": set(),
    "integer": {"minimum", "maximum"},
    "string": {"minLength", "maxLength", "pattern", "patternErrorMessage", "format", "enum"},
    "array": {"items", "minItems", "maxItems", *_LIST_TYPE},
    "object": {"properties", "required", "additionalProperties", "maxProperties", _ANYTHING, RULES},
}
"""The keywords that are understood, by type."""


class SchemaError(Exception):
    """A model holds what the schema of an API server cannot express; the message has its path."""


def structural_schema(model: type[StrictModel]) -> Node:
    """The schema of a resource: `openAPIV3Schema` of its definition.

    Args:
        model: the resource, with fields apiVersion, kind and metadata.

    Raises:
        SchemaError: the model holds something that is not known here.
    """
    schema = schema_with_rules(model)
    return _Converter(schema.pop("$defs", {})).resource(schema)


class _Converter:
    """Converts one model; knows its definitions."""

    def __init__(self, definitions: dict[str, Node]) -> None:
        self._definitions = definitions
        self._by_type: dict[str, Callable[[Node, str, tuple[str, ...]], Node]] = {
            "boolean": lambda _node, _path, _seen: {},
            "integer": self._integer,
            "string": self._string,
            "array": self._array,
            "object": self._object,
        }

    def resource(self, node: Node) -> Node:
        """The root: apiVersion and kind are plain strings, metadata is Kubernetes' own."""
        properties = dict(node["properties"])
        name = self._resolved(
            self._resolved(properties["metadata"], "metadata", ())[0]["properties"]["name"],
            "metadata.name",
            (),
        )[0]
        for given in ("apiVersion", "kind", "metadata"):
            del properties[given]
        rest = {
            **node,
            "properties": properties,
            "required": [field for field in node["required"] if field in properties],
        }
        converted = self.convert(rest, "", described=True)
        meta = {
            # An API server takes no CEL rule inside metadata, hence a pattern here.
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "maxLength": name["maxLength"],
                    "pattern": name["pattern"],
                }
            },
        }
        own = {
            "apiVersion": {"type": "string", "description": "Version of this format."},
            "kind": {"type": "string", "description": "What this document is."},
            "metadata": meta,
        }
        converted["properties"] = own | converted["properties"]
        return converted

    def convert(
        self, given: Node, path: str, seen: tuple[str, ...] = (), *, described: bool
    ) -> Node:
        """One node.

        Args:
            given: JSON schema.
            path: where it stands, for messages.
            seen: the definitions that it stands in.
            described: whether it must have a description: fields must, items need not.
        """
        node, seen = self._resolved(given, path, seen)
        kind = self._kind(node, path)
        unknown = node.keys() - _KNOWN[kind] - _ANNOTATIONS - {"const"}
        if unknown:
            raise SchemaError(f"{path}: {', '.join(sorted(unknown))} is not known for {kind}")
        converted: Node = {"type": kind}
        description = self._description(node)
        if description:
            converted["description"] = description
        elif described:
            raise SchemaError(f"{path}: has no description")
        converted |= self._by_type[kind](node, path, seen)
        default = self._default(node, converted, path)
        if default is not None:
            converted["default"] = default
        return converted

    def _resolved(
        self, node: Node, path: str, seen: tuple[str, ...]
    ) -> tuple[Node, tuple[str, ...]]:
        """A node with its reference and its "or null" written out; its own keywords win."""
        if "anyOf" in node:
            choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
            if len(choices) != 1:
                raise SchemaError(f"{path}: anyOf is known only as one type or null")
            rest = {key: value for key, value in node.items() if key != "anyOf"}
            if rest.get("default", ...) is None:
                del rest["default"]
            return self._resolved({**choices[0], **rest}, path, seen)
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            if name in seen:
                raise SchemaError(f"{path}: {name} holds itself; a schema must end")
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return self._resolved({**self._definitions[name], **rest}, path, (*seen, name))
        return node, seen

    @staticmethod
    def _kind(node: Node, path: str) -> str:
        kind = node.get("type")
        if kind not in _KNOWN:
            raise SchemaError(f"{path}: type {kind} is not known")
        return str(kind)

    @staticmethod
    def _description(node: Node) -> str:
        """The description, with the examples: the schema of an API server has no field for them."""
        text = " ".join(node.get("description", "").split())
        examples = [_written(example) for example in node.get("examples", [])]
        if not text or not examples:
            return text
        return f"{text} Example{'s' if len(examples) > 1 else ''}: {' or '.join(examples)}."

    def _default(self, node: Node, converted: Node, path: str) -> Any:
        """What the API server fills in; None where there is nothing to fill in."""
        default = node.get("default")
        if default == []:  # as absent
            return None
        if not isinstance(default, dict | list):
            return default
        inner = converted.get("properties", {}).items()
        filled = {name: child["default"] for name, child in inner if "default" in child}
        if _without_empty(default) != _without_empty(_filled(converted)):
            raise SchemaError(f"{path}: its default is not that of its fields")
        return {} if filled else None

    def _integer(self, node: Node, path: str, _seen: tuple[str, ...]) -> Node:
        if not {"minimum", "maximum"} <= node.keys():
            raise SchemaError(f"{path}: an integer needs ge and le")
        small = node["minimum"] >= -INT32_MAX - 1 and node["maximum"] <= INT32_MAX
        converted: Node = {"format": "int32" if small else "int64", "minimum": node["minimum"]}
        # The API server keeps bounds as floats, which cannot hold this one; the format bounds it.
        if node["maximum"] != INT64_MAX:
            converted["maximum"] = node["maximum"]
        return converted

    def _string(self, node: Node, path: str, _seen: tuple[str, ...]) -> Node:
        if "const" in node:
            return {"enum": [node["const"]]}
        if "enum" in node:
            return {"enum": node["enum"]}
        if "maxLength" not in node:
            raise SchemaError(f"{path}: a string needs max_length")
        kept = ("format", "minLength", "maxLength")
        converted: Node = {key: node[key] for key in kept if key in node}
        if "format" in node:
            # To CEL a date-time is a timestamp, which matches nothing.
            converted["pattern"] = node["pattern"]
        elif "pattern" in node:
            if "patternErrorMessage" not in node:
                raise SchemaError(f"{path}: a pattern needs words; use carpool.spec.text.form")
            rule = f"self.matches({_cel_string(node['pattern'])})"
            message = f"expected {node['patternErrorMessage']}"
            converted[VALIDATIONS] = [{"rule": rule, "message": message}]
        return converted

    def _array(self, node: Node, path: str, seen: tuple[str, ...]) -> Node:
        if "maxItems" not in node:
            raise SchemaError(f"{path}: a list needs max_length")
        kept = ("minItems", "maxItems", *_LIST_TYPE)
        converted: Node = {key: node[key] for key in kept if key in node}
        converted["items"] = self.convert(node["items"], f"{path}[]", seen, described=False)
        return converted

    def _object(self, node: Node, path: str, seen: tuple[str, ...]) -> Node:
        values = node.get("additionalProperties", False)
        if values is not False:
            return self._map(node, values, path, seen)
        if "properties" not in node:
            raise SchemaError(f"{path}: an object needs fields, or values of one type")
        converted: Node = {}
        if node.get("required"):
            converted["required"] = node["required"]
        converted["properties"] = {
            name: self.convert(child, f"{path}.{name}".lstrip("."), seen, described=True)
            for name, child in node["properties"].items()
        }
        rules = [_validation(rule) for rule in node.get(RULES, ()) if rule.cel is not None]
        if rules:
            converted[VALIDATIONS] = rules
        return converted

    def _map(self, node: Node, values: Node | bool, path: str, seen: tuple[str, ...]) -> Node:
        if "maxProperties" not in node:
            raise SchemaError(f"{path}: a map needs max_length")
        bounds = {"maxProperties": node["maxProperties"]}
        if isinstance(values, dict):
            inner = self.convert(values, f"{path}{{}}", seen, described=False)
        elif node.get(_ANYTHING):
            inner = {_ANYTHING: True, "nullable": True}
        else:
            raise SchemaError(f"{path}: a map of anything needs {_ANYTHING}")
        return {**bounds, "additionalProperties": inner}


def _validation(rule: Rule[Any]) -> Node:
    return {
        "rule": rule.cel,
        "fieldPath": f".{rule.field}",
        "reason": rule.reason,
        "message": rule.message,
    }


def _filled(converted: Node) -> Any:
    """What an API server makes of {} by the defaults of the fields."""
    return {
        name: _filled(child) if child["default"] == {} else child["default"]
        for name, child in converted.get("properties", {}).items()
        if "default" in child
    }


def _without_empty(value: Any) -> Any:
    """A default without what means nothing: null, empty lists and empty objects."""
    if not isinstance(value, dict):
        return value
    inner = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item not in (None, [], {})}


def _written(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)


def _cel_string(text: str) -> str:
    """A text as a CEL literal; raw, so that a pattern can be read."""
    if '"' in text:
        return json.dumps(text)
    return f'r"{text}"'
