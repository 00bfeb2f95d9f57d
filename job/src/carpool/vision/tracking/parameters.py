"""`spec.tracking.parameters`, checked and given types.

The field is free-form in the custom resource, so a misspelt name reaches this module and nothing
behind it. Every name is known or refused and every value is checked, before the first task starts.
The names are those of the ByteTrack of the `trackers` and `supervision` packages in camelCase, with
the same meaning and the same defaults, so that settings found there can be carried over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from carpool.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELD = "spec.tracking.parameters"

_NOMINAL_FRAME_RATE = 30.0
"""Frames per second in which `lost_track_buffer` is expressed."""


@dataclass(frozen=True, slots=True)
class ByteTrackParameters:
    """The parameters of `ByteTrack`; in a job they are written in camelCase.

    Attributes:
        track_activation_threshold: least score of a row that may begin a track, 0 to 1.
        high_conf_det_threshold: rows with at least this score are associated first, the others
            with the tracks that are left, 0 to 1. Only rows of the first kind begin tracks,
            whatever `track_activation_threshold` is.
        minimum_iou_threshold: least overlap of a track's predicted box with a row that it may be
            given, above 0, to 1.
        minimum_consecutive_frames: frames in a row that an object must be found in before it gets
            an id, 1 to 1000. With 1 the id is there in the first of them.
        lost_track_buffer: how long a track without rows waits to be found again, in frames at
            30 frames per second, 0 to 10000.
        frame_rate: processed frames per second, above 0, to 1000; None where it is not known, and
            then the buffer counts frames.
        class_aware: whether a track only takes rows of the class it began with. By default the
            class is ignored, since detectors waver between similar classes (car, truck) from one
            frame to the next, and a track should outlast that.

    Raises:
        SpecError: a value is of the wrong type or out of range.
    """

    track_activation_threshold: float = 0.7
    high_conf_det_threshold: float = 0.6
    minimum_iou_threshold: float = 0.1
    minimum_consecutive_frames: int = 2
    lost_track_buffer: int = 30
    frame_rate: float | None = None
    class_aware: bool = False

    def __post_init__(self) -> None:
        _check_number("track_activation_threshold", self.track_activation_threshold, 0, 1)
        _check_number("high_conf_det_threshold", self.high_conf_det_threshold, 0, 1)
        _check_number("minimum_iou_threshold", self.minimum_iou_threshold, 0, 1, above=True)
        _check_integer("minimum_consecutive_frames", self.minimum_consecutive_frames, 1, 1000)
        _check_integer("lost_track_buffer", self.lost_track_buffer, 0, 10_000)
        if self.frame_rate is not None:
            _check_number("frame_rate", self.frame_rate, 0, 1000, above=True)
        if not isinstance(self.class_aware, bool):
            raise _wrong("class_aware", self.class_aware, "true or false")

    @classmethod
    def from_mapping(cls, parameters: Mapping[str, Any]) -> ByteTrackParameters:
        """Read `spec.tracking.parameters`.

        A null value counts as absent, as it does on a Kubernetes API server.

        Args:
            parameters: as written in the job, names in camelCase.

        Raises:
            SpecError: a parameter is unknown, or of the wrong type or range; the message names it,
                what was found and what is expected.
        """
        attributes = {_camel_case(field.name): field.name for field in fields(cls)}
        for name in parameters:
            if name not in attributes:
                close = get_close_matches(str(name), attributes, n=1)
                hint = f" (is {close[0]} meant?)" if close else ""
                raise SpecError(
                    f"{_FIELD}.{name}: is not a parameter of ByteTrack, "
                    f"expected one of {', '.join(sorted(attributes))}{hint}"
                )
        return cls(
            **{
                attributes[name]: _whole(value)
                for name, value in parameters.items()
                if value is not None
            }
        )

    @property
    def buffer_frames(self) -> int:
        """How many processed frames a track may miss and still be found in the next one."""
        rate = _NOMINAL_FRAME_RATE if self.frame_rate is None else self.frame_rate
        return math.ceil(self.lost_track_buffer * rate / _NOMINAL_FRAME_RATE)

    def for_video(self, frame_rate: float) -> ByteTrackParameters:
        """The parameters for a video whose processed frames come at `frame_rate` per second.

        What the job says goes first. A rate that no video has (containers may say 0, 90000 or
        not-a-number) is ignored: the buffer then counts frames.
        """
        if self.frame_rate is not None or not 0 < frame_rate <= 1000:
            return self
        return replace(self, frame_rate=float(frame_rate))


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _whole(value: Any) -> Any:
    """30 for 30.0: JSON knows one kind of number only, and an API server may write it like that."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _wrong(name: str, found: object, expected: str) -> SpecError:
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return SpecError(f"{_FIELD}.{_camel_case(name)}: found {shown}, expected {expected}")


def _check_number(
    name: str, value: object, low: float, high: float, *, above: bool = False
) -> None:
    """Refuse what is no number from `low` (or `above` it) to `high`; NaN is none either."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or (above and value == low)
    ):
        bounds = f"above {low:g}, up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise _wrong(name, value, f"a number {bounds}")


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(name, value, f"an integer from {low} to {high}")
