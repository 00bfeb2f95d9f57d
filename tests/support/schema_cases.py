"""For each bound of a structural schema, a value that keeps it, one that breaks it, and the words
with which an API server refuses the latter.

Made from the schema, keyword by keyword; a keyword that is not known here is an error, so that no
bound goes without its cases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Node = dict[str, Any]
Path = tuple[str | int, ...]
ANY_KEY = "spark.test"
"""A key for maps; `spec.spark.conf` takes no other kind."""
REMOVED, REPEATED = object(), object()
"""As values: the field is removed; the item before it stands there again."""
INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Form:
    """Texts of one form."""

    kept: tuple[str, ...]
    broken: tuple[str, ...]
    long: Callable[[int], str] | None = None
    """A text of that many characters; None where the form itself is shorter than its bound."""


_OBJECT_NAME = (
    "expected the name of a Kubernetes object: lower-case letters, digits, inner hyphens and dots"
)
FORMS = {
    "expected a path or URI without spaces around it": Form(
        ("a", "s3://b/c d/*.mp4", "file:///ü"), (" a", "a ", "a\tb", "a\nb"), lambda n: "a" * n
    ),
    "expected a Python class as package.module:Class": Form(
        ("a:B", "a.b_1:_C"), ("a.B", "a:", ":B", "1:B", "a:B.c"), lambda n: "a:" + "B" * (n - 2)
    ),
    "expected 64 lower-case hexadecimal digits, as sha256sum prints them": Form(
        ("0a" * 32,), ("0A" * 32, "0" * 63, "g" * 64)
    ),
    "expected a container image as registry/name:tag": Form(
        ("r.io:5000/a/b:1@sha256:0", "a"), ("a b", "-a"), lambda n: "a" * n
    ),
    "expected an address that starts with http:// or https://": Form(
        ("http://a", "https://a:9000/b"),
        ("minio:9000", "http:///a", "https://a b"),
        lambda n: "http://" + "a" * (n - 7),
    ),
    "expected the name of a region, such as eu-central-1": Form(
        ("eu-central-1",), ("EU", "a b"), lambda n: "a" * n
    ),
    _OBJECT_NAME: Form(("a", "a.b-c"), ("-a", "a.", "A"), lambda n: "a" * n),
    'expected a size as a Kubernetes quantity, such as "8Gi" or "512Mi" (not Spark\'s "8g")': Form(
        ("8Gi", "0.5Mi", "1", "1.125P", "999999999999999"), ("8g", "0", "500m", "01Gi", "1e3", "-1")
    ),
    'expected GiB with at most one decimal, such as "22.4Gi"': Form(
        ("0Gi", "0.5Gi", "9999999.9Gi"), ("22.44Gi", "01Gi", "22", "22Mi", "-1Gi")
    ),
    'expected an amount of CPU as a Kubernetes quantity, such as "2" or "500m"': Form(
        ("2", "500m", "0.001", "999999.999"), ("0", "0m", "2.5m", "1.0001", "x")
    ),
    "expected a CamelCase word": Form(
        ("A", "OutOfMemory", "a_b:c,d9"), ("1a", "a b", "a:"), lambda n: "A" * n
    ),
    "expected a CamelCase word, with a domain before it if it is not ours": Form(
        ("Accepted", "example.org/Seen"), ("-A", "A/", "a b"), lambda n: "A" * n
    ),
    "expected the UUID of a GPU as nvidia-smi -L prints it": Form(
        ("GPU-5f9c0a4e-6d2b", "MIG-GPU-5f9c/1/0"), ("5f9c", "GPU-", "gpu-1"),
        lambda n: "GPU-" + "0" * (n - 4),
    ),
    "expected the UID of a pod": Form(("0a-1b",), ("-0", "G"), lambda n: "0" * n),
}  # fmt: skip
TIMES = Form(
    ("2026-05-04T10:20:30Z", "2024-02-29T23:59:59.123456789Z"),
    ("2026-05-04 10:20:30Z", "2026-05-04T10:20:30+02:00"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A value at a path, and what becomes of it."""

    path: Path
    keyword: str
    value: Any
    refusal: str | None
    """None: accepted. Otherwise the words, after the name of the field."""

    @property
    def field(self) -> str:
        """The field that the API server names."""
        return written(self.path)

    def __str__(self) -> str:
        words = {id(REMOVED): "removed", id(REPEATED): "repeated"}
        shown = words.get(id(self.value)) or json.dumps(self.value)
        if len(shown) > 24:
            shown = f"{shown[:20]}...{len(shown)}"
        return f"{self.field}-{self.keyword}-{shown}"


def written(path: Path) -> str:
    """A path as the API server writes it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every place of a schema: fields, the first item of lists, one key of maps."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, (*path, name))
    if "items" in node:
        yield from walk(node["items"], (*path, 0))
    if "additionalProperties" in node:
        yield from walk(node["additionalProperties"], (*path, ANY_KEY))


def form_of(node: Node) -> Form | None:
    """The form of a string that has one."""
    if node.get("format") == "date-time":
        return TIMES
    for rule in node.get("x-kubernetes-validations", []):
        if node["type"] == "string":
            return FORMS[rule["message"]]
    return None


def valid(node: Node) -> Any:
    """A small value that the schema admits."""
    if "enum" in node:
        return node["enum"][0]
    kind = node.get("type", "anything")
    if kind == "object":
        return {name: valid(node["properties"][name]) for name in node.get("required", [])}
    if kind == "array":
        return valid_list(node, node.get("minItems", 0))
    if kind == "string":
        form = form_of(node)
        return form.kept[0] if form else "x"
    return {"integer": node.get("minimum"), "boolean": False, "anything": 1}[kind]


def valid_list(node: Node, length: int) -> list[Any]:
    """A list of that many valid items, their keys different."""
    items = [deepcopy(valid(node["items"])) for _ in range(length)]
    for key in node.get("x-kubernetes-list-map-keys", []):
        for index, item in enumerate(items, start=1):
            item[key] = index if isinstance(item[key], int) else f"{item[key]}{index}"
    return items


def place(document: Any, root: Node, path: Path, value: Any) -> None:
    """Set the value at a path (or remove what is there), making what it stands in."""
    node = root
    for step, following in pairwise(path):
        if isinstance(step, int) and not document:
            document += valid_list(node, 1)
        node = child_of(node, step)
        if isinstance(step, str) and step not in document:
            document[step] = [] if isinstance(following, int) else valid(node)
        document = document[step]
    last = path[-1]
    if value is REMOVED:
        del document[last]
    elif value is REPEATED:
        document[:] = valid_list(node, 1) * 2
    elif isinstance(last, int) and not document:
        document.append(value)
    else:
        document[last] = value


def child_of(node: Node, step: str | int) -> Node:
    """The schema below a step of a path."""
    if isinstance(step, int):
        return node["items"]
    if step in node.get("properties", {}):
        return node["properties"][step]
    return node["additionalProperties"]


# Keywords that bound nothing by themselves, or whose cases belong to another keyword.
_NO_CASES = {
    *("description", "default", "properties", "additionalProperties", "items", "nullable"),
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}
_NO_TIME = 'Invalid value: "": {body} in body must be of type date-time: ""'
_OTHER_TYPE = {"boolean": "x"}


def cases_of(path: Path, node: Node, body: str) -> Iterator[Case]:
    """The cases of one place.

    Args:
        path: where it is.
        node: its schema.
        body: its name inside the messages, where status is left out.
    """

    def kept(keyword: str, *values: Any) -> Iterator[Case]:
        return (Case(path, keyword, value, None) for value in values)

    def broken(keyword: str, value: Any, words: str) -> Case:
        return Case(path, keyword, value, words)

    def invalid(keyword: str, value: Any, words: str) -> Case:
        return broken(keyword, value, f"Invalid value: {json.dumps(value)}: {body} in body {words}")

    def of_type(keyword: str, value: Any, found: str) -> Case:
        words = (
            f'Invalid value: "{found}": {body} in body must be of type {node["type"]}: "{found}"'
        )
        return broken(keyword, value, words)

    for keyword, bound in node.items():
        match keyword:
            case "type":
                if bound != "object":  # its fields have cases of their own
                    yield from kept("type", valid(node))
                if node.get("format") == "date-time":
                    yield broken("type", True, _NO_TIME.format(body=body))
                    continue
                wrong = _OTHER_TYPE.get(bound, True)
                yield of_type("type", wrong, "string" if wrong == "x" else "boolean")
            case "required":
                for name in bound:
                    yield Case((*path, name), "required", REMOVED, "Required value")
            case "enum":
                yield from kept("enum", *bound)
                supported = ", ".join(json.dumps(word) for word in bound)
                words = f'Unsupported value: "Nonsense": supported values: {supported}'
                yield broken("enum", "Nonsense", words)
            case "minimum":
                yield from kept("minimum", bound)
                words = f"should be greater than or equal to {bound}"
                yield invalid("minimum", bound - 1, words)
            case "maximum":
                yield from kept("maximum", bound)
                yield invalid("maximum", bound + 1, f"should be less than or equal to {bound}")
            case "format":
                if bound == "int64" and "maximum" not in node:
                    yield from kept("format", INT64_MAX)
                    yield of_type("format", INT64_MAX + 1, "number")
                if bound == "date-time":
                    words = 'must be of type date-time: "2026-02-30T10:20:30Z"'
                    yield invalid("format", "2026-02-30T10:20:30Z", words)
            case "minLength":
                yield invalid("minLength", "", f"should be at least {bound} chars long")
            case "maxLength":
                form = form_of(node)
                longest = form.long if form else "x".__mul__
                if longest:
                    yield from kept("maxLength", longest(bound))
                words = f"Too long: may not be more than {bound} bytes"
                yield broken("maxLength", "x" * (bound + 1), words)
            case "pattern":
                for text in TIMES.broken:
                    yield invalid("pattern", text, f"should match '{bound}'")
            case "minItems":
                yield from kept("minItems", valid_list(node, bound))
                words = (
                    f"Invalid value: {bound - 1}: {body} in body should have at least {bound} items"
                )
                yield broken("minItems", valid_list(node, bound - 1), words)
            case "maxItems":
                yield from kept("maxItems", valid_list(node, bound))
                words = f"Too many: {bound + 1}: must have at most {bound} items"
                yield broken("maxItems", valid_list(node, bound + 1), words)
            case "maxProperties":
                many = {
                    f"{ANY_KEY}{i}": valid(node["additionalProperties"]) for i in range(bound + 1)
                }
                yield from kept("maxProperties", dict(list(many.items())[:bound]))
                words = f"Too many: {bound + 1}: must have at most {bound} items"
                yield broken("maxProperties", many, words)
            case "x-kubernetes-list-type":
                (key,) = node["x-kubernetes-list-map-keys"]
                (item,) = valid_list(node, 1)
                twice = json.dumps({key: item[key]}, separators=(",", ":"))
                yield Case((*path, 1), keyword, REPEATED, f"Duplicate value: {twice}")
            case "x-kubernetes-validations":
                form = form_of(node)
                if form is not None:
                    (rule,) = bound
                    yield from kept("form", *form.kept)
                    for text in form.broken:
                        words = f"Invalid value: {json.dumps(text)}: {rule['message']}"
                        yield broken("form", text, words)
            case _:
                assert keyword in _NO_CASES, f"{written(path)}: {keyword} has no cases"


def rules_of(root: Node) -> Iterator[tuple[Path, Node]]:
    """Every CEL rule that is not a form, with the path of the object that it stands at."""
    for path, node in walk(root):
        if node.get("type") == "object":
            yield from ((path, rule) for rule in node.get("x-kubernetes-validations", []))
