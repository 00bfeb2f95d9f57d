r"""The strings and free-form objects of the spec, each with its bounds and, in words, its form.

Every pattern here must mean the same to Rust's regex crate (pydantic), RE2 (a Kubernetes API
server) and ECMAScript (editors): no look-around, no classes such as `\w`. The words stand in the
JSON schema as `patternErrorMessage`, where editors and our own messages find them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

from carpool.spec.strict import INT64_MAX, INT64_MIN

FREE_FORM_MAX_CHARACTERS = 65_536
FREE_FORM_MAX_FIELDS = 256


def form(pattern: str, words: str, max_length: int, **extra: Any) -> Any:
    """A field whose text has one form.

    Args:
        pattern: regular expression of the whole text.
        words: the form in words, to follow "expected".
        max_length: the most characters.
        extra: further keys of the JSON schema.
    """
    return Field(
        min_length=1,
        max_length=max_length,
        pattern=pattern,
        json_schema_extra={"patternErrorMessage": words, **extra},
    )


Uri = Annotated[
    str,
    form(
        r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$",
        "a path or URI without spaces around it",
        1024,
    ),
]
JobName = Annotated[
    str,
    # Spark allows 47 characters for what stands before "-exec-N"; "-" and the attempt come between.
    form(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        "a name of at most 40 lower-case letters, digits and inner hyphens",
        40,
    ),
]
NamespaceName = Annotated[
    str,
    form(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        "a name of at most 63 lower-case letters, digits and inner hyphens",
        63,
    ),
]
ObjectName = Annotated[
    str,
    form(
        r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        "the name of a Kubernetes object: lower-case letters, digits, inner hyphens and dots",
        253,
    ),
]
HandlerName = Annotated[
    str,
    form(
        r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
        "a Python class as package.module:Class",
        512,
    ),
]
Sha256 = Annotated[
    str,
    form(r"^[0-9a-f]{64}$", "64 lower-case hexadecimal digits, as sha256sum prints them", 64),
]
ImageName = Annotated[
    str,
    form(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", "a container image as registry/name:tag", 512),
]
HttpUrl = Annotated[
    str,
    form(
        r"^https?://[^\x00-\x20\x7f/]+[^\x00-\x20\x7f]*$",
        "an address that starts with http:// or https://",
        512,
    ),
]
Region = Annotated[
    str,
    form(r"^[a-z0-9-]+$", "the name of a region, such as eu-central-1", 64),
]
_TIME_WORDS = "a time in UTC, such as 2026-05-04T10:20:30Z"


def _real(value: str) -> str:
    try:
        # The pattern is not asked again; only dates that no calendar has are left to find.
        datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"no calendar or clock has {value}: give {_TIME_WORDS}") from error
    return value


Timestamp = Annotated[
    str,
    form(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$",
        _TIME_WORDS,
        32,
        format="date-time",
    ),
    AfterValidator(_real),
]
Reason = Annotated[
    str,
    # As metav1.Condition has it.
    form(
        r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        "a CamelCase word",
        1024,
    ),
]
ShortText = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=32_768)]

StringMap = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=256)]


def _bounded(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        size = len(json.dumps(value, allow_nan=False))
    except ValueError as error:
        raise ValueError(
            "infinity and not-a-number have no place in a job: use a number"
        ) from error
    if size > FREE_FORM_MAX_CHARACTERS:
        raise ValueError(
            f"is {size} characters long as JSON, at most {FREE_FORM_MAX_CHARACTERS} are allowed: "
            "put the data in a file and name the file"
        )
    large = _large_integer(value)
    if large is not None:
        raise ValueError(
            f"{large} has more than 64 bits, and Kubernetes would round it: write it in quotes"
        )
    return value


def _large_integer(value: JsonValue) -> int | None:
    """An integer inside the value that a Kubernetes API server would turn into a float."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return next((found for item in inner if (found := _large_integer(item)) is not None), None)
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        return value
    return None


FreeForm = Annotated[
    dict[str, JsonValue],
    Field(max_length=FREE_FORM_MAX_FIELDS),
    AfterValidator(_bounded),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "maxProperties": FREE_FORM_MAX_FIELDS,
            "x-kubernetes-preserve-unknown-fields": True,
        }
    ),
]
