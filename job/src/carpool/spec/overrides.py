"""Change single fields of a job before it is checked: `carpool run --set spark.executor.cores=4`.

Only the path is understood here; whether it and its value are right is left to the validation that
follows, so that an override and a file are judged by the same rules and with the same words.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from carpool.errors import SpecError
from carpool.spec.document import read_value
from carpool.spec.explain import written
from carpool.spec.schema import Location, node_at


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of a job document with fields below `spec` replaced, in the order given.

    Args:
        document: the job as plain data; not changed.
        overrides: `PATH=VALUE` each. PATH is below `spec`, dots between names. Where it enters a
            map of strings (`spark.conf`, `gpu.nodeSelector`) the rest is one key, dots and all.
            VALUE is YAML, except that a string field takes a number as it is written: a shell eats
            the quotes that YAML would want. An empty VALUE removes the field.

    Raises:
        SpecError: an override has no `=` or no path, its value is no YAML, or its path enters
            something that has no fields.
    """
    changed = deepcopy(document)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not all(path.split(".")):
            raise SpecError(
                f"--set {override}: expected PATH=VALUE, such as spark.executor.cores=4"
            )
        location = _location(path)
        _set(changed, location, _value(text, location, f"--set {path}"), override)
    return changed


def _location(path: str) -> Location:
    """Steps of a path from the root of the job."""
    location: Location = ("spec",)
    names = path.removeprefix("spec.").split(".")
    for index, name in enumerate(names):
        if _is_string_map(location):
            return (*location, ".".join(names[index:]))
        location = (*location, name)
    return location


def _is_string_map(location: Location) -> bool:
    values = (node_at(location) or {}).get("additionalProperties")
    return isinstance(values, dict) and values.get("type") == "string"


def _value(text: str, location: Location, source: str) -> Any:
    value = read_value(text, source)
    takes_string = (node_at(location) or {}).get("type") == "string"
    if takes_string and isinstance(value, bool | int | float):
        return text.strip()
    return value


def _set(document: dict[str, Any], location: Location, value: Any, override: str) -> None:
    *parents, last = location
    place: Any = document
    for depth, step in enumerate(parents, start=1):
        if place.get(step) is None:
            place[step] = {}
        place = place[step]
        if not isinstance(place, dict):
            found = "a list" if isinstance(place, list) else "a single value"
            raise SpecError(
                f"--set {override}: {written(location[:depth])} is {found} without fields: "
                "set it whole"
            )
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
