"""What a Spark Python worker does once, for all the tasks that it will run.

Spark keeps a worker from task to task and collects its garbage after each. What must stay true: a
task uses the one core that Spark counts for it, and what a task costs does not depend on how much
is loaded.
"""

from __future__ import annotations

import gc
from functools import cache

import cv2
import pyarrow as pa


@cache
def keep_to_one_core() -> None:
    """Have OpenCV and Arrow work in the task's own thread; NumPy does by what Spark sets.

    By default they keep a thread for each core of the machine in each process, and OpenCV's wait
    for one another in loops of `sched_yield`.
    """
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)


@cache
def keep_what_is_loaded() -> None:
    """Take what is loaded out of the garbage collector's sight; to be called behind a first task.

    Modules live as long as the process: to look through their 100,000 objects after each task finds
    nothing (https://docs.python.org/3/library/gc.html#gc.freeze). Objects are still freed when
    nothing refers to them.
    """
    gc.collect()  # what is garbage by now would be kept as well
    gc.freeze()
