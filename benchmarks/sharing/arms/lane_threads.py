"""Threads that last as long as their arm: what one has warmed up is warm in that one alone.

PyTorch keeps what cuDNN chose for a convolution by thread, since its plans may not be shared
(aten/src/ATen/native/cudnn/Conv_v8.cpp), and a thread that meets a shape tries the algorithms anew.
So a lane is warmed up, tried and measured in one and the same thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TypeVar

Found = TypeVar("Found")


class LaneThreads(ExitStack):
    """Threads by number, each there from its first work to the end of the block."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: list[ThreadPoolExecutor] = []

    def begin(self, number: int, work: Callable[[], Found]) -> Future[Found]:
        """Have a thread work, after what it was given before."""
        while len(self._threads) <= number:
            self._threads.append(self.enter_context(ThreadPoolExecutor(1)))
        return self._threads[number].submit(work)

    def all(self, works: Sequence[Callable[[], Found]]) -> list[Found]:
        """Have the first threads work at the same time, each its own; wait for all of them.

        Raises:
            BaseException: the first error of one of them.
        """
        begun = [self.begin(number, work) for number, work in enumerate(works)]
        wait(begun)
        return [each.result() for each in begun]
