"""YAML to plain data and back, read the way a Kubernetes API server reads it.

PyYAML knows more than a job file may hold: duplicate keys pass silently, dates and base-60 numbers
(12:30) are guessed, and 1e-3 is a string. Here a key stands once, keys are strings, scalars are
those of JSON, and every complaint carries file:line:column.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from carpool.errors import SpecError

MAX_CHARACTERS = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 64

_STRING = "tag:yaml.org,2002:str"
_ODD_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
_MERGE = "tag:yaml.org,2002:merge"
# Tag, pattern and possible first characters of what is no string without quotes. Numbers are
# decimal: octal, hexadecimal and base 60 surprise more often than they serve.
_NUMBER_START = "-+.0123456789"
_FRACTION = r"(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?"
_SCALARS = (
    ("bool", r"(?i:yes|no|true|false|on|off)", "yYnNtTfFoO"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", _NUMBER_START),
    ("float", rf"[-+]?({_FRACTION}|[0-9]+[eE][-+]?[0-9]+|\.(?i:inf))|\.(?i:nan)", _NUMBER_START),
    ("null", r"~|(?i:null)|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys and keys that are no strings."""

    def compose_mapping_node(self, anchor: dict[Any, Node]) -> MappingNode:
        """Check a mapping as it is written, before merge keys are filled in."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, ScalarNode) or key.tag != _STRING:
                found = key.value if isinstance(key, ScalarNode) else f"a {key.id}"
                raise _complaint(f"key {found} is not a string: write it in quotes", key)
            if key.value in lines:
                raise _complaint(
                    f'duplicate key "{key.value}", first on line {lines[key.value]}', key
                )
            lines[key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Give a value that does not fit its explicit tag (`!!int x`) a place in the message."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            raise _complaint(f"a value that is no {node.tag.rpartition(':')[2]}", node) from error


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` or any YAML 1.1 reader could take for something else than a string."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_str(self, data: str) -> ScalarNode:
        """Escape the line breaks of Unicode, which PyYAML writes plainly and reads as spaces."""
        style = '"' if _ODD_BREAKS.search(data) else None
        return self.represent_scalar(_STRING, data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})\Z"), list(_first)
        )


def read_documents(text: str, source: str) -> list[Any]:
    """The documents of a YAML text as plain data; empty ones are left out.

    Args:
        text: the YAML.
        source: what to call it in messages, usually the file's path.

    Raises:
        SpecError: the text is no YAML that a job may hold; the message has the place.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpecError(
            f"{source}: {len(text)} characters long, at most {MAX_CHARACTERS} are allowed"
        )
    documents: list[Any] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _refuse_expansion(node)
                documents.append(loader.construct_document(node))
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        raise SpecError(
            f"{source}:{line}:{column}: character U+{ord(text[error.position]):04X} is not "
            "allowed in YAML: remove it"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise SpecError(f"{source}{_mark(error)}: {_problem(error)}") from error
    except RecursionError as error:
        raise SpecError(f"{source}: nested deeper than {MAX_DEPTH}") from error
    return [document for document in documents if document is not None]


def read_value(text: str, source: str) -> Any:
    """One value written as YAML, such as `4`, `[a, b]` or `{x: 1}`; empty text is null.

    Raises:
        SpecError: the text is no YAML, or more than one document.
    """
    documents = read_documents(text, source)
    if len(documents) > 1:
        raise SpecError(f"{source}: expected one value, found {len(documents)} YAML documents")
    return documents[0] if documents else None


def write_document(document: dict[str, Any]) -> str:
    """Plain data as YAML that `read_documents` reads back as it was, keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _refuse_expansion(root: Node) -> None:
    """Refuse aliases that contain themselves, or that would multiply into a huge document.

    Sizes are computed once per node, so the check itself stays linear.
    """
    sizes: dict[int, int] = {}

    def size(node: Node, depth: int) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        # A node inside itself is infinitely deep, so this ends it too.
        if depth > MAX_DEPTH:
            raise _complaint(f"nested deeper than {MAX_DEPTH}, or inside itself", node)
        total = 1
        if isinstance(node, MappingNode):
            total += sum(size(key, depth + 1) + size(value, depth + 1) for key, value in node.value)
        elif isinstance(node, CollectionNode):
            total += sum(size(item, depth + 1) for item in node.value)
        if total > MAX_NODES:
            raise _complaint(f"more than {MAX_NODES} values, aliases included", node)
        sizes[id(node)] = total
        return total

    size(root, 1)


def _complaint(problem: str, node: Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _mark(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "no valid YAML"
    return f"{problem} ({error.context})" if error.context else problem


def _place(text: str, position: int) -> tuple[int, int]:
    """Line and column, from 1, of a position in the text."""
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")
