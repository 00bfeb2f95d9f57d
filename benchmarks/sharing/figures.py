"""What is made of the answers that tasks saw. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from carpool.vision.handler import Rows

TRIM = 0.1
"""Of the measured time, at its begin and at its end, that does not count."""


class NothingAnswered(Exception):
    """The time was too short for even one chunk; the message says how short."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One chunk as its task saw it.

    Attributes:
        done: when its rows were there, seconds, monotonic.
        items: how many it has.
        latency: seconds since the task began with it, copying its frames included.
    """

    done: float
    items: int
    latency: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of a cell gave.

    Attributes:
        figures: for the record.
        rows: of frames of the pool.
    """

    figures: dict[str, Any]
    rows: Mapping[int, Rows]


def steady_window(begin: float, end: float) -> tuple[float, float]:
    """The part of the measured time that counts."""
    trim = TRIM * (end - begin)
    return begin + trim, end - trim


def steady(answers: Sequence[Answer], begin: float, end: float) -> dict[str, Any]:
    """Items per second and latencies of the chunks that were answered in the steady window.

    Args:
        answers: of all tasks.
        begin: of the measured time, seconds, monotonic.
        end: of the measured time.

    Raises:
        NothingAnswered: nothing was answered in the window.
    """
    first, last = steady_window(begin, end)
    counted = [answer for answer in answers if first <= answer.done < last]
    if not counted:
        raise NothingAnswered(f"no chunk was answered in {last - first:g} s: measure for longer")
    return {
        "items_per_s": round(sum(answer.items for answer in counted) / (last - first), 3),
        "chunk_ms": latencies(counted),
    }


def latencies(answers: Sequence[Answer]) -> dict[str, float]:
    """Milliseconds of a chunk: p50 and p99."""
    found = 1e3 * np.array([answer.latency for answer in answers])
    return {f"p{q}": round(float(np.quantile(found, q / 100)), 3) for q in (50, 99)}


def life_rate(items: int, seconds: Sequence[float]) -> float:
    """Items per second of tasks side by side that each load a model, compute, and end.

    Args:
        items: of a task.
        seconds: of one whole task of each lane, from before its process to after its end.
    """
    return sum(items / each for each in seconds)
