"""The parameters that every detector shares, checked in one place.

`spec.model.parameters` is free-form in the custom resource, so nothing but the handler looks at it
before the model runs. A misspelt threshold that is silently ignored costs a whole run; therefore
every key is known or refused, every value is checked for type and range, and each error names the
field, what was found and what is expected. Both the task and the host build handlers: nothing here
reads a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

from carpool.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ResizeMode = Literal["Stretch", "Letterbox"]

SHARED_NAMES = ("inputSize", "resize", "scoreThreshold", "iouThreshold", "classNames", "classes")
"""The parameters of `DetectorParameters`, as they are written in a job."""

MIN_INPUT_SIDE = 16
MAX_INPUT_SIDE = 4096
"""Bounds of one side of the model's input: an item of the largest size fills 48 MiB of a slot."""

_RESIZE_MODES: tuple[ResizeMode, ...] = ("Stretch", "Letterbox")
_FIELD = "spec.model.parameters"
_NO_DEFAULTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DetectorParameters:
    """What a detector needs to know besides its weights.

    Attributes:
        input_size: (height, width) of the model's input in pixels.
        resize: "Stretch" changes the aspect ratio of a frame, "Letterbox" keeps it and pads.
        score_threshold: rows with a lower score are dropped, 0 to 1.
        iou_threshold: of two boxes of a class that overlap more than this, one is dropped, 0 to 1.
        class_names: the name of each class id.
        classes: the names of the classes to keep; None keeps all.
    """

    input_size: tuple[int, int]
    resize: ResizeMode
    score_threshold: float
    iou_threshold: float
    class_names: tuple[str, ...]
    classes: tuple[str, ...] | None

    @property
    def class_ids(self) -> frozenset[int] | None:
        """The ids of `classes`; None where all classes are kept."""
        if self.classes is None:
            return None
        return frozenset(self.class_names.index(name) for name in self.classes)

    @classmethod
    def from_mapping(
        cls,
        parameters: Mapping[str, Any],
        *,
        extra: Collection[str] = (),
        defaults: Mapping[str, Any] = _NO_DEFAULTS,
    ) -> DetectorParameters:
        """Check `spec.model.parameters` and give it types.

        A null value counts as absent, as it does on a Kubernetes API server.

        Args:
            parameters: as written in the job, names in camelCase.
            extra: names of further parameters, which the handler checks itself.
            defaults: values for shared parameters that the job does not give, by the same names.
                Without them `resize` is Stretch, `scoreThreshold` 0.25, `iouThreshold` 0.45,
                `classes` is all, and `inputSize` and `classNames` are required.

        Raises:
            SpecError: a parameter is unknown, missing, or of the wrong type or range.
        """
        refuse_unknown(parameters, (*SHARED_NAMES, *extra))
        given = {
            "resize": "Stretch",
            "scoreThreshold": 0.25,
            "iouThreshold": 0.45,
            **{name: value for name, value in defaults.items() if value is not None},
            **{name: value for name, value in parameters.items() if value is not None},
        }
        for name, expected in (
            ("inputSize", "an integer or [height, width]"),
            ("classNames", "a list of the class names in the order of their ids"),
        ):
            if name not in given:
                raise SpecError(f"{_FIELD}.{name}: is missing, expected {expected}")
        class_names = read_names("classNames", given["classNames"])
        classes = read_names("classes", given["classes"]) if "classes" in given else None
        for name in classes or ():
            if name not in class_names:
                raise wrong("classes", name, f"names of {_shown(class_names)}")
        resize = given["resize"]
        if resize not in _RESIZE_MODES:
            raise wrong("resize", resize, "Stretch or Letterbox")
        return cls(
            input_size=read_size("inputSize", given["inputSize"]),
            resize=cast("ResizeMode", resize),
            score_threshold=read_number("scoreThreshold", given["scoreThreshold"], 0.0, 1.0),
            iou_threshold=read_number("iouThreshold", given["iouThreshold"], 0.0, 1.0),
            class_names=class_names,
            classes=classes,
        )


def wrong(name: str, found: object, expected: str) -> SpecError:
    """The error for a parameter with a wrong value."""
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return SpecError(f"{_FIELD}.{name}: found {shown}, expected {expected}")


def refuse_unknown(parameters: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse names that no one reads.

    Raises:
        SpecError: names the first unknown parameter and all known ones.
    """
    for name in parameters:
        if name not in known:
            raise SpecError(
                f"{_FIELD}.{name}: is not a parameter of this handler, "
                f"expected one of {', '.join(sorted(known))}"
            )


def read_number(name: str, value: object, low: float, high: float) -> float:
    """A finite number between `low` and `high`, both included.

    Raises:
        SpecError: it is no number, or out of range.
    """
    expected = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, value, expected)
    if not math.isfinite(value) or not low <= value <= high:
        raise wrong(name, value, expected)
    return float(value)


def read_integer(name: str, value: object, low: int, high: int) -> int:
    """An integer between `low` and `high`, both included.

    A float without a fraction is accepted: JSON knows one kind of number only, and an API server
    may give 640 back as 640.0.

    Raises:
        SpecError: it is no integer, or out of range.
    """
    expected = f"an integer from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, value, expected)
    if not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise wrong(name, value, expected)
    return int(value)


def read_size(name: str, value: object) -> tuple[int, int]:
    """(height, width) from an integer (a square) or a list of the two.

    Raises:
        SpecError: it is neither, or a side is out of range.
    """
    expected = (
        f"an integer or [height, width], each from {MIN_INPUT_SIDE} to {MAX_INPUT_SIDE} pixels"
    )
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2:
        raise wrong(name, value, expected)
    try:
        height, width = (read_integer(name, side, MIN_INPUT_SIDE, MAX_INPUT_SIDE) for side in sides)
    except SpecError:
        # The error must show the whole value, not one side of it.
        raise wrong(name, value, expected) from None
    return height, width


def read_names(name: str, value: object) -> tuple[str, ...]:
    """A list of names, not empty, each name once.

    Raises:
        SpecError: it is no such list.
    """
    expected = "a list of different names, at least one"
    if not isinstance(value, list | tuple) or not value:
        raise wrong(name, value, expected)
    for item in value:
        if not isinstance(item, str) or not item.strip():
            raise wrong(name, item, expected)
    names = tuple(cast("Sequence[str]", value))
    if len(set(names)) != len(names):
        repeated = next(item for item in names if names.count(item) > 1)
        raise wrong(name, repeated, f"{expected} (this one is there twice)")
    return names


def _shown(names: Sequence[str]) -> str:
    """Names for a message, shortened where a model knows a thousand."""
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])}, ..."
