"""The converter carries over what an API server knows, translates the rest, and loses nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model

from carpool.spec import GpuNode, InferenceJob
from carpool.spec.crd import GPU_NODES, INFERENCE_JOBS, SchemaError, structural_schema
from carpool.spec.metadata import ObjectMeta
from carpool.spec.rules import Rule
from carpool.spec.strict import INT32_MAX, INT64_MAX, StrictModel
from carpool.spec.text import FreeForm, ShortText, StringMap, Timestamp, form
from support.schema_cases import walk, written

DESCRIBED: Any = Field(description="A field.")


def field_schema(annotation: Any, field: Any = DESCRIBED) -> dict[str, Any]:
    """What a field of a resource becomes."""
    inner = create_model("Inner", __base__=StrictModel, __doc__="Inner.", thing=(annotation, field))
    root = create_model(
        "Root",
        __base__=StrictModel,
        __doc__="Root.",
        api_version=(Literal["a/v1"], DESCRIBED),
        kind=(Literal["Root"], DESCRIBED),
        metadata=(ObjectMeta, DESCRIBED),
        spec=(inner, DESCRIBED),
    )
    found: dict[str, Any] = structural_schema(root)["properties"]["spec"]["properties"]["thing"]
    return found


class Pair(StrictModel):
    """Two numbers."""

    low: int = Field(default=1, ge=0, le=9, description="Low.")
    high: int | None = Field(default=None, ge=0, le=9, description="High.", examples=[3, 4])

    @classmethod
    def rules(cls) -> tuple[Rule[Pair], ...]:
        return (
            Rule("high", lambda pair: True, "be high", cel="true", reason="FieldValueForbidden"),
            Rule("low", lambda pair: True, "known to Python alone", cel=None),
        )


class Loop(StrictModel):
    """Holds itself."""

    inner: Loop | None = Field(default=None, description="Itself.")


def test_nested_objects_are_written_out_with_rules_defaults_and_examples():
    field = Field(default=Pair(), description="A pair.")
    assert field_schema(Pair, field) == {
        "type": "object",
        "description": "A pair.",
        "default": {},
        "properties": {
            "low": {
                "type": "integer",
                "description": "Low.",
                "format": "int32",
                "minimum": 0,
                "maximum": 9,
                "default": 1,
            },
            "high": {
                "type": "integer",
                "description": "High. Examples: 3 or 4.",
                "format": "int32",
                "minimum": 0,
                "maximum": 9,
            },
        },
        "x-kubernetes-validations": [
            {
                "rule": "true",
                "fieldPath": ".high",
                "reason": "FieldValueForbidden",
                "message": "be high",
            }
        ],
    }


def test_form_becomes_a_rule_that_says_in_words_what_was_expected():
    word = Annotated[str, form(r"^[a-z\x00]+$", "lower-case letters", 9)]
    assert field_schema(word) == {
        "type": "string",
        "description": "A field.",
        "minLength": 1,
        "maxLength": 9,
        "x-kubernetes-validations": [
            {"rule": r'self.matches(r"^[a-z\x00]+$")', "message": "expected lower-case letters"}
        ],
    }


def test_form_with_quotes_is_escaped():
    (rule,) = field_schema(Annotated[str, form(r'^["\x00]$', "a quote", 9)])[
        "x-kubernetes-validations"
    ]
    assert rule["rule"] == r'self.matches("^[\"\\x00]$")'


def test_date_time_keeps_its_pattern_since_cel_sees_no_text():
    schema = field_schema(Timestamp)
    assert schema["format"] == "date-time"
    assert schema["pattern"].startswith("^[0-9]{4}")
    assert "x-kubernetes-validations" not in schema


def test_integers_have_the_format_of_their_bounds():
    small = field_schema(int, Field(ge=0, le=INT32_MAX, description="Small."))
    large = field_schema(int, Field(ge=-1, le=INT64_MAX, description="Large."))
    assert (small["format"], small["maximum"]) == ("int32", INT32_MAX)
    # As a float, which it would be in the API server, this maximum is another number.
    assert (large["format"], large["minimum"], "maximum" in large) == ("int64", -1, False)


def test_words_are_an_enum():
    assert field_schema(Literal["A", "B"])["enum"] == ["A", "B"]
    assert field_schema(Literal["A"])["enum"] == ["A"]


def test_maps_and_free_form_objects_are_bounded_maps():
    assert field_schema(StringMap)["additionalProperties"] == {"type": "string", "maxLength": 4096}
    assert field_schema(FreeForm) == {
        "type": "object",
        "description": "A field.",
        "maxProperties": 256,
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": True, "nullable": True},
    }


@pytest.mark.parametrize(
    ("annotation", "field", "message"),
    [
        (int | str, DESCRIBED, "spec.thing: anyOf is known only as one type or null"),
        (float, DESCRIBED, "spec.thing: type number is not known"),
        (Any, DESCRIBED, "spec.thing: type None is not known"),
        (tuple[int, str], DESCRIBED, "spec.thing: prefixItems is not known for array"),
        (set[int], DESCRIBED, "spec.thing: uniqueItems is not known for array"),
        (int, Field(gt=0, le=9, description="x"), "exclusiveMinimum is not known for integer"),
        (int, Field(multiple_of=2, ge=0, le=9, description="x"), "multipleOf is not known"),
        (int, Field(ge=0, description="x"), "spec.thing: an integer needs ge and le"),
        (str, DESCRIBED, "spec.thing: a string needs max_length"),
        (list[ShortText], DESCRIBED, "spec.thing: a list needs max_length"),
        (dict[str, ShortText], DESCRIBED, "spec.thing: a map needs max_length"),
        (Annotated[str, Field(max_length=9)], Field(), "spec.thing: has no description"),
        (
            Annotated[str, Field(max_length=9, pattern="^a$")],
            DESCRIBED,
            "spec.thing: a pattern needs words",
        ),
        (
            Annotated[dict[Literal["a"], bool], Field(max_length=1)],
            DESCRIBED,
            "spec.thing: propertyNames is not known for object",
        ),
        (ShortText, Field(description="x", deprecated=True), "deprecated is not known for string"),
        (Loop, DESCRIBED, "spec.thing.inner: Loop holds itself"),
        (
            Pair,
            Field(default=Pair(low=2), description="x"),
            "spec.thing: its default is not that of its fields",
        ),
    ],
)
def test_what_is_not_known_is_an_error_with_its_place(annotation, field, message):
    with pytest.raises(SchemaError) as caught:
        field_schema(annotation, field)
    assert message in str(caught.value)


@pytest.mark.parametrize("model", [InferenceJob, GpuNode])
def test_every_field_is_described_and_everything_is_bounded(model):
    for path, node in walk(structural_schema(model)):
        if path[:1] == ("metadata",):  # Kubernetes describes it
            continue
        place = written(path)
        if path and isinstance(path[-1], str) and path[-1] != "spark.test":
            assert node["description"], place
        kind = node.get("type")
        assert kind != "number", place
        if kind == "string":
            fixed = path in (("apiVersion",), ("kind",))
            assert fixed or "enum" in node or "maxLength" in node, place
        if kind == "array":
            assert "maxItems" in node, place
        if kind == "object":
            assert "properties" in node or "maxProperties" in node, place


def test_names_and_columns_are_what_users_type_and_see():
    assert (INFERENCE_JOBS.name, INFERENCE_JOBS.short_name) == ("inferencejobs.carpool.dev", "ij")
    assert (GPU_NODES.name, GPU_NODES.namespaced) == ("gpunodes.carpool.dev", False)
    shown = [column.name.upper() for column in INFERENCE_JOBS.columns if not column.wide]
    assert shown == ["PHASE", "PROGRESS", "RATE", "ETA", "GPUS", "AGE"]
