"""What a task leaves its worker like, for those that follow it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
import cv2
import pyarrow
from carpool.spark.detect import run_detect

print(cv2.getNumThreads() > 1 or cv2.getNumberOfCPUs() == 1)
run_detect([], None, None)
print(cv2.getNumThreads(), pyarrow.cpu_count())
kept = gc.get_freeze_count()
print(kept > 10_000)
made_later = [[] for _ in range(1000)]
run_detect([], None, None)
print(gc.get_freeze_count() <= kept)
"""


def test_a_task_uses_one_core_and_is_not_charged_for_what_is_loaded():
    """Not in this process: what is set here stays."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == ["True", "1", "1", "True", "True"]
