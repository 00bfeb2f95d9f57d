"""What holds for all tests."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

# Two processes test at once, some with torch: threads of libgomp must not spin for each other.
# It is read when torch is loaded, hence here and not in a fixture.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Spark starts `python3` as its workers, whatever Python runs the tests.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

# What is slow is measured in benchmarks; a test must not fail because the machine is busy.
settings.register_profile("carpool", deadline=None)
settings.load_profile("carpool")
