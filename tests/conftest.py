"""What holds for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import pytest
from hypothesis import settings

# Two processes test at once, some with torch: threads of libgomp must not spin for each other.
# It is read when torch is loaded, hence here and not in a fixture.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Spark starts `python3` as its workers, whatever Python runs the tests.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

# What is slow is measured in benchmarks; a test must not fail because the machine is busy.
settings.register_profile("carpool", deadline=None)
settings.load_profile("carpool")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Tests of a GPU are skipped where there is none; asking costs an import of torch."""
    on_gpu = [item for item in items if item.get_closest_marker("cuda")]
    if on_gpu and not _has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
