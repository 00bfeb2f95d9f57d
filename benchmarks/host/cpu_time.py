"""CPU time of any process of this user, with a resolution of nanoseconds."""

from __future__ import annotations

import time
from collections.abc import Iterable


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of all threads of the processes, those that ended included.

    The clock's number follows from the process id as in clock_getcpuclockid(3).
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)
