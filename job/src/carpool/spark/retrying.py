"""Trying again what could pass: storage that fails for a moment must not end a job.

Spark tries a task again, but at once and only four times; the driver's own steps nobody tries
again. Which errors could pass is said by their type.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pyspark import TaskContext

from carpool.errors import CarpoolError

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 1.0

_Result = TypeVar("_Result")


def retrying(step: Callable[[], _Result], *, pause: float = FIRST_PAUSE_SECONDS) -> _Result:
    """Run a step that is safe to repeat, up to four times.

    Args:
        step: what to do.
        pause: seconds before the second attempt; doubled before each further one.

    Raises:
        CarpoolError: one that is not retryable, or that of the last attempt.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return step()
        except CarpoolError as error:
            if not error.retryable:
                raise
            time.sleep(pause * 2**attempt)
    return step()


def pause_before_retry(pause: float = FIRST_PAUSE_SECONDS) -> None:
    """In a task that is about to fail with an error that could pass: give it time to pass.

    Spark runs a failed task again at once; the pause doubles with each of its attempts.
    """
    task = TaskContext.get()
    if task is not None:
        time.sleep(pause * 2 ** task.attemptNumber())
