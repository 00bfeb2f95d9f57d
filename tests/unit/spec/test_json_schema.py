"""What the schema must be for editors, and for the custom resource definition made from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter

import carpool.spec as spec_package
from carpool.spec import json_schema
from carpool.spec.schema import fields, node_at
from support.job_documents import job_document

SCHEMA = json_schema()
MODELS = [
    value
    for value in vars(spec_package).values()
    if isinstance(value, type) and issubclass(value, BaseModel)
]


def nodes(value: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that describes values."""
    if not isinstance(value, dict):
        return
    yield path, value
    for key in ("properties", "$defs"):
        for name, child in value.get(key, {}).items():
            yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        yield from nodes(value.get(key), f"{path}[{key}]")
    for index, child in enumerate(value.get("anyOf", [])):
        yield from nodes(child, f"{path}|{index}")


NODES = dict(nodes(SCHEMA))


def of_type(name: str) -> list[tuple[str, dict[str, Any]]]:
    found = [(path, node) for path, node in NODES.items() if node.get("type") == name]
    assert found
    return found


def test_schema_is_valid_and_names_its_dialect():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_schema_judges_jobs():
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(job_document())
    assert not validator.is_valid(job_document(spec__executors=0))
    assert not validator.is_valid(job_document(spec__outptu={}))
    assert not validator.is_valid(job_document(spec__spark__executor__memory="8g"))


def test_callers_get_a_copy():
    json_schema().clear()
    assert json_schema() == SCHEMA


def test_names_are_camel_case():
    for path in fields():
        assert re.fullmatch(r"[a-z][A-Za-z0-9]*", str(path[-1])), path


def test_every_field_and_model_is_described():
    undescribed = [
        f"{model.__name__}.{name}"
        for model in MODELS
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []
    assert all(definition.get("description") for definition in SCHEMA["$defs"].values())


def test_unions_are_only_with_null():
    for path, node in NODES.items():
        assert not {"oneOf", "allOf", "prefixItems", "not"} & set(node), path
        if "anyOf" in node:
            assert [choice.get("type") for choice in node["anyOf"]].count("null") == 1, path
            assert len(node["anyOf"]) == 2, path


def test_what_may_be_null_is_null_unless_given():
    for path, node in NODES.items():
        if "anyOf" in node:
            assert node["default"] is None, path


def test_there_are_no_floats():
    assert [path for path, node in NODES.items() if node.get("type") == "number"] == []


def test_strings_lists_maps_and_integers_are_bounded():
    for path, node in of_type("string"):
        assert "maxLength" in node or "enum" in node or "const" in node, path
    for path, node in of_type("array"):
        assert "maxItems" in node, path
    for path, node in of_type("integer"):
        assert "minimum" in node, path
        assert node["maximum"] <= 2**63 - 1, path
    for path, node in of_type("object"):
        free_form = node.get("x-kubernetes-preserve-unknown-fields", False)
        assert "properties" in node or "maxProperties" in node or free_form, path


def test_patterns_mean_the_same_everywhere_and_are_put_in_words():
    for path, node in of_type("string"):
        if "pattern" in node:
            assert re.fullmatch(r"\^.*\$", node["pattern"]), path
            assert not re.search(r"\(\?|\\[^.x]", node["pattern"]), path
            assert node["patternErrorMessage"], path


def test_words_of_enums_are_camel_case():
    for path, node in NODES.items():
        for word in node.get("enum", []):
            assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", word), path


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_examples_and_defaults_are_valid(model):
    for field in model.model_fields.values():
        # Pydantic does not validate defaults, so each field is rebuilt without its own.
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, *field.metadata, None])
        for example in field.examples or []:
            adapter.validate_python(example, strict=True)
        if not field.is_required():
            adapter.validate_python(field.get_default(call_default_factory=True), strict=True)


def test_conditions_are_a_map_by_type_as_for_every_kubernetes_object():
    node = node_at(("status", "conditions"))
    assert node is not None
    assert node["x-kubernetes-list-type"] == "map"
    assert node["x-kubernetes-list-map-keys"] == ["type"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("spec", "executors"), "integer"),
        (("spec", "gpu", "executorsPerGPU"), "integer"),
        (("spec", "input", "uris", 0), "string"),
        (("spec", "spark", "conf", "spark.x"), "string"),
        (("spec", "model", "parameters"), "object"),
    ],
)
def test_field_is_found_by_its_path(path, expected):
    node = node_at(path)
    assert node is not None
    assert node["type"] == expected


def test_anything_may_be_inside_free_form_objects_and_nothing_beside_fields():
    assert node_at(("spec", "model", "parameters", "a", "b")) == {}
    assert node_at(("spec", "nothing")) is None
    assert node_at(("spec", "nothing", "below")) is None
    assert node_at(("spec", "executors", 0)) is None
