"""Hypothesis strategies for whole objects, drawn from their schema.

From the schema and not field by field, so that a new field is covered on its first day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from carpool.spec import GpuNode, json_schema
from carpool.spec.strict import INT64_MAX, INT64_MIN

DEFINITIONS = json_schema()["$defs"] | GpuNode.model_json_schema(by_alias=True)["$defs"]
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
    | st.integers(INT64_MIN, INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIRST_TIME = datetime(1000, 1, 1)  # noqa: DTZ001 - the Z is written behind it
TIMES = st.datetimes(FIRST_TIME).map(lambda time: f"{time.isoformat()}Z")
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
    if node.get("format") == "date-time":
        return TIMES
    if "pattern" not in node:
        return TEXT
    drawn = st.from_regex(node["pattern"], fullmatch=True, alphabet=CHARACTERS)
    return drawn.filter(lambda text: len(text) <= node["maxLength"])


def drawn_list(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    least = node.get("minItems", 0)
    keys = node.get("x-kubernetes-list-map-keys")
    return st.lists(
        drawn_from(node["items"]),
        min_size=least,
        max_size=least + 2,
        unique_by=(lambda item: tuple(item[key] for key in keys)) if keys else None,
    )


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
    if spec.get("gpu", {}).get("ownership") == "Exclusive":
        spec["gpu"] |= {"executorsPerGPU": 1, "sharedWith": "Job"}
    if spec.get("minExecutors", 1) > spec.get("executors", 1):
        spec["executors"] = spec["minExecutors"]
    conf = spec.get("spark", {}).get("conf", {})
    if conf:
        spec["spark"]["conf"] = {f"spark.test.{key}": value for key, value in conf.items()}
    return document


def count_gpus(document: dict[str, Any]) -> dict[str, Any]:
    """Mend the counts of a GPUNode."""
    status = document.get("status")
    if status is not None:
        gpus = status.get("gpus", [])
        status["gpuCount"] = len(gpus)
        status["healthyCount"] = sum(gpu["health"] == "Healthy" for gpu in gpus)
    return document


JOBS = drawn_from(json_schema()).map(keep_rules)
GPU_NODES = drawn_from(GpuNode.model_json_schema(by_alias=True)).map(count_gpus)
