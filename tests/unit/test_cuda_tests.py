"""`make test-cuda` runs all tests of a GPU, and runs them where little besides PyTorch is there."""

from __future__ import annotations

import sys

import pytest

from support.bare_environment import ROOT, bare_environment, output

pytestmark = [pytest.mark.slow, pytest.mark.torch]

MARK = "pytest.mark." + "cuda"
"""How a file says that it has tests of a GPU; this one has none."""


def test_the_tests_of_a_gpu_are_found_where_there_is_no_spark(tmp_path):
    environment = bare_environment(tmp_path) | {"PYTEST_ADDOPTS": "--collect-only -q"}
    shown = output(["make", "--silent", "test-cuda", f"PYTHON={sys.executable}"], environment)
    found = {line.partition("::")[0] for line in shown.splitlines() if "::" in line}
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]
    assert found == {str(path.relative_to(ROOT)) for path in files}
    assert len(found) > 1
