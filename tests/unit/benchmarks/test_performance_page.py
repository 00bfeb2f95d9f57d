"""Every number of the pages of docs/ on performance is one of a record of a benchmark."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def copy(tmp_path):
    """The page, its records and the program that makes it from them, free to be changed."""
    shutil.copytree(ROOT / "benchmarks" / "host", tmp_path / "benchmarks" / "host")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path / "docs")
    return tmp_path


def check(folder: Path, page: str = "benchmarks.host.page") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", page, "--check"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "page", ["benchmarks.host.page", "benchmarks.cluster_page", "benchmarks.sharing.page"]
)
def test_a_page_is_what_the_records_give(page):
    checked = check(ROOT, page)
    assert checked.returncode == 0, checked.stderr


def test_a_number_that_is_changed_by_hand_is_found(copy):
    page = copy / "docs" / "performance.md"
    record = json.loads((copy / "benchmarks/host/results/sharing_memory.json").read_text())
    fraction = f"{record['fraction']['median']:.3f}"
    text = page.read_text()
    assert fraction in text
    page.write_text(text.replace(fraction, "0.123"))
    checked = check(copy)
    assert checked.returncode == 1
    assert "run: python -m benchmarks.host.page" in checked.stderr


def test_every_record_has_its_picture_and_the_page_shows_it():
    results = ROOT / "benchmarks" / "host" / "results"
    records = {path.stem for path in results.glob("*.json")}
    assert records == {path.stem for path in results.glob("*.png")}
    page = (ROOT / "docs" / "performance.md").read_text()
    assert all(f"results/{name}.png" in page for name in records)


def test_every_record_of_sharing_has_its_picture_and_the_page_shows_it_or_says_what_is_missing():
    results = ROOT / "benchmarks" / "sharing" / "results"
    records = {path.stem for path in results.glob("*.json")}
    assert records == {path.stem for path in results.glob("*.png")}
    page = (ROOT / "docs" / "performance-of-sharing.md").read_text()
    assert all(f"results/{name}.png" in page for name in records)
    assert ("no figure of a GPU" in page) == ("gpu" not in records)
