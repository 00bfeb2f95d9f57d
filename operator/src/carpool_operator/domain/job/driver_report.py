"""What a driver says of its job: `GET /progress` while it runs, a termination message at its end.

A driver runs in an image that its user may have made, so nothing that it says is trusted: what has
not the form that was agreed upon counts as not said, and texts are cut to what a status may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

from carpool_operator.domain.job.times import timestamp, unix

RunningPhase = Literal["Starting", "Detecting", "Tracking"]
EndPhase = Literal["Succeeded", "PartiallySucceeded", "Failed"]

MESSAGE_CHARACTERS: Final = 1024
LOCATION_CHARACTERS: Final = 512
FAILURES: Final = 10
RATE_WINDOW_SECONDS: Final = 60.0

_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", re.ASCII)
_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of the plan: all, those whose results are stored, those in quarantine."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Copies of the model; bytes of device memory of one, and saved by sharing, where known."""

    copies: int
    memory: int | None
    saved_memory: int | None


@dataclass(frozen=True, slots=True)
class ReportedFailure:
    """Something that went wrong; `time` is RFC 3339 in whole seconds."""

    time: str
    reason: str
    message: str
    location: str | None


@dataclass(frozen=True, slots=True)
class DriverProgress:
    """A driver's answer to `GET /progress`.

    The rate is taken over the last minutes of one driver, between this poll and `earlier`, which
    the poller hands on from poll to poll (`after`). Taken from the job's start instead it would
    need no memory, but would count the wait for executors, the loading of the model and frames of
    earlier attempts. An operator that was restarted shows the rate again after two polls; until
    then the status keeps the old one.

    Attributes:
        attempt: of the driver that was asked.
        polled: Unix time of the answer.
        executors: registered with the driver.
        failures: at most ten.
        earlier: time and frames of an earlier poll of the same driver; None at the first.
    """

    attempt: int
    polled: float
    phase: RunningPhase
    frames: Frames
    model_ready: bool
    executors: int
    model: ModelFacts
    failures: tuple[ReportedFailure, ...] = ()
    earlier: tuple[float, int] | None = None

    def after(self, previous: DriverProgress | None) -> DriverProgress:
        """This answer, with what the one before it remembers.

        The remembered poll lies between one and two windows back once the driver runs so long.
        """
        if previous is None or previous.attempt != self.attempt or previous.polled >= self.polled:
            return self
        last = (previous.polled, previous.frames.done + previous.frames.failed)
        earlier = previous.earlier
        if earlier is None or self.polled - earlier[0] > 2 * RATE_WINDOW_SECONDS:
            earlier = last
        return replace(self, earlier=earlier)


@dataclass(frozen=True, slots=True)
class Termination:
    """A driver's termination message."""

    phase: EndPhase
    reason: str
    message: str
    retryable: bool
    frames: Frames | None = None
    model: ModelFacts | None = None
    output: str | None = None
    failures: tuple[ReportedFailure, ...] = ()


def progress_of(document: Any, *, attempt: int, polled: float) -> DriverProgress | None:
    """A driver's answer, from its JSON; None where it has not the form agreed upon."""
    if not isinstance(document, Mapping) or document.get("phase") not in (
        "Starting",
        "Detecting",
        "Tracking",
    ):
        return None
    frames, model = _frames(document.get("frames")), _model(document.get("model"))
    executors = document.get("executors")
    registered = _count(executors.get("registered")) if isinstance(executors, Mapping) else None
    if frames is None or model is None or registered is None:
        return None
    return DriverProgress(
        attempt=attempt,
        polled=polled,
        phase=cast("RunningPhase", document["phase"]),
        frames=frames,
        model_ready=document.get("modelReady") is True,
        executors=min(registered, _INT32_MAX),
        model=model,
        failures=_failures(document.get("failures")),
    )


def termination_of(text: str | None) -> Termination | None:
    """A termination message, from the text that the kubelet took; None where it is no such."""
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, Mapping) or document.get("phase") not in (
        "Succeeded",
        "PartiallySucceeded",
        "Failed",
    ):
        return None
    phase = cast("EndPhase", document["phase"])
    output = document.get("output")
    return Termination(
        phase=phase,
        reason=_reason(document.get("reason"), phase if phase != "Failed" else "DriverFailed"),
        message=cut(document.get("message"), MESSAGE_CHARACTERS),
        # What the driver does not call hopeless is tried again.
        retryable=document.get("retryable") is not False,
        frames=_frames(document.get("frames")),
        model=_model(document.get("model")),
        output=_place(output, 1024),
        failures=_failures(document.get("failures")),
    )


def cut(text: Any, most: int) -> str:
    """A text, without what JSON and etcd cannot hold, in at most `most` characters."""
    if not isinstance(text, str):
        return ""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def camel_case(word: str) -> str:
    """Another program's word for a reason, in the form that a status may hold."""
    kept = "".join(each for each in word if each.isascii() and each.isalnum())[:256]
    return kept if kept[:1].isalpha() else f"Unknown{kept}"


def _frames(value: Any) -> Frames | None:
    if not isinstance(value, Mapping):
        return None
    total, done, failed = (_count(value.get(name)) for name in ("total", "done", "failed"))
    if total is None or done is None or failed is None:
        return None
    return Frames(total=total, done=done, failed=failed)


def _model(value: Any) -> ModelFacts | None:
    if not isinstance(value, Mapping):
        return None
    copies = _count(value.get("copies"))
    if copies is None:
        return None
    return ModelFacts(
        copies=min(copies, _INT32_MAX),
        memory=_count(value.get("memory")),
        saved_memory=_count(value.get("savedMemory")),
    )


def _failures(value: Any) -> tuple[ReportedFailure, ...]:
    if not isinstance(value, list):
        return ()
    read = (_failure(each) for each in value[-FAILURES:])
    return tuple(failure for failure in read if failure is not None)


def _failure(value: Any) -> ReportedFailure | None:
    if not isinstance(value, Mapping):
        return None
    try:
        time = timestamp(unix(value["time"]))
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    return ReportedFailure(
        time=time,
        reason=_reason(value.get("reason"), "Unknown"),
        message=cut(value.get("message"), MESSAGE_CHARACTERS),
        location=_place(value.get("location"), LOCATION_CHARACTERS),
    )


def _reason(value: Any, otherwise: str) -> str:
    fits = isinstance(value, str) and len(value) <= 256 and _REASON.fullmatch(value)
    return value if fits else otherwise


def _place(value: Any, most: int) -> str | None:
    """A path or URI in the form that a status may hold; None where nothing is left."""
    printable = "".join(character for character in cut(value, most) if character.isprintable())
    return printable.strip() or None


def _count(value: Any) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return min(value, _INT64_MAX)
