"""docs/complaints.md names tests; they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "complaints.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[^`]+)::([^`]+)`", TABLE)


def test_each_complaint_is_answered_by_a_test():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")][2:]
    assert rows
    for row in rows:
        assert re.search(r"`tests/[^`]+::[^`]+`", row), row


def test_every_test_that_is_named_exists():
    for file, name in NAMED:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
