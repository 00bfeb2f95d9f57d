"""Checks that are put together to a schema; each gives back the value it understood.

A check takes a JSON value and its place and returns the value rebuilt, so that what passes consists
of known fields and nothing else: what torch will read is not the file's JSON but this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from carpool.vision.torch_export.place import Place, shown

Check = Callable[[Any, Place], Any]

_AGAIN = "save the program again with torch.export.save of torch 2.11 or newer"
_INT64 = 1 << 63
_MAX_STRING = 4096
_SPECIAL = {"Infinity", "-Infinity", "NaN"}


def integer(low: int = -_INT64, high: int = _INT64 - 1) -> Check:
    """An integer within bounds, both included."""

    def check(value: Any, place: Place) -> int:
        if type(value) is not int or not low <= value <= high:
            raise place.malformed(f"found {shown(value)}, expected an integer")
        return value

    return check


def boolean(value: Any, place: Place) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise place.malformed(f"found {shown(value)}, expected true or false")
    return value


def number(value: Any, place: Place) -> float | str:
    """A number, or one of the words that torch writes for what JSON has no number for."""
    if isinstance(value, str) and value in _SPECIAL:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.malformed(f"found {shown(value)}, expected a number")
    return (
        value
        if math.isfinite(value)
        else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    )


def text(value: Any, place: Place) -> str:
    """A string that nothing evaluates."""
    if not isinstance(value, str) or len(value) > _MAX_STRING:
        raise place.malformed(f"found {shown(value)}, expected a short string")
    return value


def pattern(form: re.Pattern[str], words: str, *, refused: Collection[str] = ()) -> Check:
    """A string of a form that is safe wherever torch puts it, into generated source too."""

    def check(value: Any, place: Place) -> str:
        if not isinstance(value, str) or not form.fullmatch(value) or value in refused:
            raise place.unsafe(f"found {shown(value)}, expected {words}")
        return value

    return check


def one_of(*values: Any) -> Check:
    """One of a few values."""

    def check(value: Any, place: Place) -> Any:
        if not any(type(value) is type(known) and value == known for known in values):
            raise place.malformed(f"found {shown(value)}, expected one of {list(values)}")
        return value

    return check


def optional(inner: Check) -> Check:
    """What `inner` takes, or null."""
    return lambda value, place: None if value is None else inner(value, place)


def listed(inner: Check) -> Check:
    """A list of what `inner` takes."""

    def check(value: Any, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise place.malformed(f"found {shown(value)}, expected a list")
        return [inner(item, place.element(index)) for index, item in enumerate(value)]

    return check


def mapped(key: Check, inner: Check) -> Check:
    """An object with keys that `key` takes and values that `inner` takes."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise place.malformed(f"found {shown(value)}, expected an object")
        return {key(name, place): inner(item, place.element(name)) for name, item in value.items()}

    return check


def empty(reason: str) -> Check:
    """A list, object or null with nothing in it; `reason` says why more is refused."""

    def check(value: Any, place: Place) -> Any:
        if value:
            raise place.unsafe(f"found {shown(value)}: {reason}")
        return value

    return check


def dropped(value: Any) -> Check:
    """Whatever is there is left out; torch gets `value`."""
    return lambda _, __: value


def struct(required: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> Check:
    """An object with the `required` fields and perhaps `more`; any other is refused."""
    known = {**required, **(more or {})}

    def check(value: Any, place: Place) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise place.malformed(f"found {shown(value)}, expected an object")
        for name in required:
            if name not in value:
                raise place.malformed(f"has no {name}", _AGAIN)
        for name in value:
            if name not in known:
                raise place.unsafe(f"has a field {shown(name)} that is not known to be safe")
        return {name: known[name](item, place.field(name)) for name, item in value.items()}

    return check


def union(alternatives: Mapping[str, Check]) -> Check:
    """An object with one field, which says what it is; a kind that is not listed is refused."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) != 1:
            raise place.malformed(f"found {shown(value)}, expected an object with one field")
        [(kind, item)] = value.items()
        if kind not in alternatives:
            raise place.unsafe(f"found {shown(kind)}, which is not known to be safe")
        return {kind: alternatives[kind](item, place.field(kind))}

    return check
