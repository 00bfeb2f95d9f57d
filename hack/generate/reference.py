"""docs/reference.md: every field of the resources, as the models say it.

A section for each object, in the order of the file that people write; a table of its fields, then
the rules between them. Nothing here knows a field by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from carpool.spec import mutability
from carpool.spec.crd import GROUP, VERSION, Resource
from carpool.spec.rules import Rule
from carpool.spec.schema import RULES, Node, schema_with_rules
from carpool.spec.strict import INT32_MAX, INT64_MAX

_HEAD = f"""\
<!-- Generated from carpool.spec by `make generate`; do not edit. -->
# Reference

Every field of Carpool's resources ({GROUP}/{VERSION}). A job file and the object in a cluster are \
the same; `kubectl explain ij.spec` says the same in a terminal, and `carpool schema` gives it to \
editors.

A field without a default is optional unless it is **required**. `null` is as good as absent. An \
unknown field is an error to `carpool`, and to `kubectl apply --validate=strict` (the default).
"""
_METADATA = """\
`metadata` is that of every Kubernetes object; {name}.
"""
_CHANGES = """\
### What may change

`spec` says what runs, so a change that a running attempt would not see is refused.

| | |
| --- | --- |
| at any time | {always} |
| before the first attempt, and while the job is suspended | {suspended} |
| before the first attempt only, since they decide what the results are | {fixed} |

To run a job with other resources, set `suspend: true`, change it, and set `suspend: false`: \
finished work units are kept.
"""


@dataclass(frozen=True, slots=True)
class _Section:
    """One object of a resource."""

    path: str
    description: str
    node: Node


def reference(resources: Iterable[Resource]) -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *(_resource(resource) for resource in resources)])


def _resource(resource: Resource) -> str:
    schema = schema_with_rules(resource.model)
    definitions = schema.pop("$defs")
    root = schema["properties"]
    name = _resolved(_resolved(root["metadata"], definitions)["properties"]["name"], definitions)
    wide = [f"{column.name.upper()}" for column in resource.columns if column.wide]
    shown = [f"{column.name.upper()}" for column in resource.columns if not column.wide]
    parts = [
        f"## {resource.kind}\n",
        f"{schema['description']}\n",
        (
            f"`kubectl get {resource.short_name}` shows {', '.join(shown)}; with `-o wide` also "
            f"{', '.join(wide)}.\n"
        ),
        _METADATA.format(name=f"`name` is {name['patternErrorMessage']}"),
    ]
    sections = [
        section
        for field in ("spec", "status")
        if field in root
        for section in _sections(field, _resolved(root[field], definitions), definitions)
    ]
    places = {section.path: _anchor(resource, section.path) for section in sections}
    parts += [_table(section, places, definitions) for section in sections]
    if resource.transitions:
        parts.append(_changes())
    return "\n".join(parts)


def _sections(path: str, node: Node, definitions: dict[str, Node]) -> Iterator[_Section]:
    """The object at a path and those below it, parents first."""
    yield _Section(path, " ".join(node.get("description", "").split()), node)
    for name, given in node["properties"].items():
        child = _resolved(given, definitions)
        if "properties" in child:
            yield from _sections(f"{path}.{name}", child, definitions)
        elif child["type"] == "array":
            item = _resolved(child["items"], definitions)
            if "properties" in item:
                yield from _sections(f"{path}.{name}[]", item, definitions)


def _table(section: _Section, places: dict[str, str], definitions: dict[str, Node]) -> str:
    required = section.node.get("required", [])
    lines = [
        f'<a id="{places[section.path]}"></a>',
        f"### {section.path}\n",
        f"{section.description}\n",
        "| field | type | default | |",
        "| --- | --- | --- | --- |",
    ]
    for name, given in section.node["properties"].items():
        node = _resolved(given, definitions)
        default = "**required**" if name in required else _default(node)
        kind = _type(node, f"{section.path}.{name}", places, definitions)
        lines.append(f"| `{name}` | {kind} | {default} | {_meaning(node)} |")
    rules: Sequence[Rule[Any]] = section.node.get(RULES, ())
    if rules:
        lines += ["", "Refused, with these words:", ""]
        lines += [f"* `{section.path}.{rule.field}`: {rule.message}" for rule in rules]
    return "\n".join(lines) + "\n"


def _type(node: Node, path: str, places: dict[str, str], definitions: dict[str, Node]) -> str:
    """The type with its bounds, in words."""
    if "const" in node or "enum" in node:
        return " or ".join(f"`{word}`" for word in node.get("enum", [node.get("const")]))
    if path in places:
        return f"[object](#{places[path]})"
    text: str = node["type"]
    match text:
        case "integer":
            text = _integer(node)
        case "string":
            words = node.get("patternErrorMessage", "string")
            text = _cell(f"{words}; at most {node['maxLength']} characters")
        case "array":
            item = _type(_resolved(node["items"], definitions), f"{path}[]", places, definitions)
            text = f"list of {node.get('minItems', 0)} to {node['maxItems']} items, each: {item}"
        case "object":
            values = node["additionalProperties"]
            of = "anything" if values is True else _type(values, "", places, definitions)
            text = f"map of at most {node['maxProperties']} keys, each to: {of}"
    return text


def _integer(node: Node) -> str:
    if node["maximum"] in (INT32_MAX, INT64_MAX):
        return f"integer ≥ {node['minimum']}"
    return f"integer from {node['minimum']} to {node['maximum']}"


def _default(node: Node) -> str:
    """What applies where the field is absent; that of an object stands with its own fields."""
    default = node.get("default")
    if default is None or "properties" in node or default in ([], {}):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _meaning(node: Node) -> str:
    text = " ".join(node.get("description", "").split())
    examples = [
        f"`{example if isinstance(example, str) else json.dumps(example)}`"
        for example in node.get("examples", [])
    ]
    shown = f" Example: {', '.join(examples)}".replace("|", "\\|") if examples else ""
    return _cell(text) + shown


def _changes() -> str:
    def listed(fields: Sequence[str]) -> str:
        return ", ".join(f"`{field}`" for field in fields)

    return _CHANGES.format(
        always=listed(mutability.ALWAYS),
        suspended=listed(mutability.SUSPENDED),
        fixed=listed(mutability.FIXED),
    )


def _resolved(node: Node, definitions: dict[str, Node]) -> Node:
    """A node with its reference and its "or null" written out; its own keywords win."""
    if "anyOf" in node:
        (choice,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        node = {**choice, **{key: value for key, value in node.items() if key != "anyOf"}}
    if "$ref" in node:
        definition = definitions[node["$ref"].removeprefix("#/$defs/")]
        node = {**definition, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _anchor(resource: Resource, path: str) -> str:
    return f"{resource.kind.lower()}-{path.lower().replace('.', '-').replace('[]', '')}"


def _cell(text: str) -> str:
    """Text for a cell of a table: a bar would end it, and asterisks would be emphasis."""
    return text.replace("|", "\\|").replace("*", "\\*")
