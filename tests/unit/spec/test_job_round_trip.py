"""Whatever the schema admits is a job, and every job survives the way through YAML.

Documents are drawn from the JSON schema itself, so that a new field is covered on its first day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool.spec import InferenceJob, dump_job, json_schema, parse_job, validate_job
from support.job_documents import job_document

DEFINITIONS = json_schema()["$defs"]
CHARACTERS = st.characters(codec="utf-8")
# What a careless writer of YAML would leave without quotes.
TRAPS = st.sampled_from(
    [
        *("", "1", "1e3", "0x1f", "010", "12:30", "1_0", ".inf", "2026-05-04"),
        *("null", "~", "yes", "off", "<<", "=", "---", "...", "{}", "[]"),
        *("- a", "a: b", "#", "a #b", "&a", "*a", "!a", "%", "@", "`", "'", '"', " a ", "\n"),
        *("\u2028", "\x85", "\ufeff", "\U0001f697", "\x00"),
    ]
)
TEXT = TRAPS | st.text(CHARACTERS, max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FREE_FORM = st.dictionaries(TEXT, JSON, max_size=3)


def drawn_from(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema admits."""
    if "anyOf" in node:
        (node,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    if "$ref" in node:
        node = DEFINITIONS[node["$ref"].removeprefix("#/$defs/")]
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    return DRAWN_BY_TYPE[node["type"]](node)


def drawn_text(node: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" not in node:
        return TEXT
    drawn = st.from_regex(node["pattern"], fullmatch=True, alphabet=CHARACTERS)
    return drawn.filter(lambda text: len(text) <= node["maxLength"])


def drawn_list(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    least = node.get("minItems", 0)
    return st.lists(drawn_from(node["items"]), min_size=least, max_size=least + 2)


def drawn_object(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" not in node:
        free = node["additionalProperties"] is True
        return FREE_FORM if free else st.dictionaries(TEXT, TEXT, max_size=3)
    required = node.get("required", [])
    values = {name: drawn_from(child) for name, child in node["properties"].items()}
    return st.fixed_dictionaries(
        {name: values[name] for name in values if name in required},
        optional={name: values[name] for name in values if name not in required},
    )


DRAWN_BY_TYPE: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "boolean": lambda _: st.booleans(),
    "integer": lambda node: st.integers(node["minimum"], node["maximum"]),
    "string": drawn_text,
    "array": drawn_list,
    "object": drawn_object,
}


def keep_rules(document: dict[str, Any]) -> dict[str, Any]:
    """Mend what breaks a rule between fields, touching nothing else."""
    spec = document["spec"]
    model = spec["model"]
    model["allowCode"] = True
    model["sha256"] = "0" * 64
    if model["format"] == "Darknet":
        model.pop("handler", None)
    else:
        model.setdefault("handler", "a:B")
        model.setdefault("uri", "a")
    model.setdefault("uri", "a.cfg")
    if spec["input"].get("kind", "Video") != "Video":
        spec.pop("tracking", None)
    if spec.get("device") == "CPU":
        spec.pop("gpu", None)
    if spec.get("minExecutors", 1) > spec.get("executors", 1):
        spec["executors"] = spec["minExecutors"]
    conf = spec.get("spark", {}).get("conf", {})
    if conf:
        spec["spark"]["conf"] = {f"spark.test.{key}": value for key, value in conf.items()}
    return document


DOCUMENTS = drawn_from(json_schema()).map(keep_rules)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(DOCUMENTS)
def test_job_survives_the_way_through_yaml(document):
    job = validate_job(document, "drawn")
    text = dump_job(job)
    assert parse_job(text, "dumped") == job
    assert dump_job(parse_job(text, "dumped")) == text


@settings(max_examples=50, deadline=None)
@given(FREE_FORM)
def test_parameters_survive_exactly(parameters):
    job = validate_job(job_document(spec__model__parameters=parameters), "drawn")
    again = parse_job(dump_job(job), "dumped")
    assert repr(again.spec.model.parameters) == repr(parameters)


def test_models_rebuild_from_their_own_dump():
    job = validate_job(job_document(), "f")
    assert InferenceJob.model_validate(job.model_dump()) == job
    assert InferenceJob.model_validate(job.model_dump(by_alias=False)) == job
