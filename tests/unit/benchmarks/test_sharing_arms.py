"""Every arm of benchmarks/sharing runs, answers all, and finds the rows that the others find."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.sharing.cells import ARMS
from support.bare_environment import bare_environment, output

pytestmark = [pytest.mark.slow, pytest.mark.torch]


@pytest.fixture
def bare(tmp_path):
    """The environment of a machine that only measures."""
    folder = tmp_path / "bare"
    folder.mkdir()
    return bare_environment(folder)


def measure(environment: dict[str, str], program: str, *options: object) -> str:
    command = [sys.executable, "-m", f"benchmarks.sharing.{program}", *map(str, options)]
    return output(command, environment)


def test_all_arms_run_on_the_simulated_device_and_find_the_same(bare, tmp_path):
    measure(
        bare,
        "bench_sharing",
        *("--networks", "simulated", "--tasks", 2, "--chunks", 4, "--budgets", 4),
        *("--repeats", 1, "--seconds", 0.5, "--task-items", 8, "--results", tmp_path),
    )
    record = json.loads((tmp_path / "simulated.json").read_text())
    rows = {(row["arm"], row["without"]): row for row in record["cells"]}
    ideas = {("d", "overlap"), ("d", "shared_batches")}
    assert set(rows) == {(arm, "") for arm in ARMS} | ideas
    assert all(row["items_per_s"]["median"] > 0 for row in rows.values())
    compared = {
        row["arm"] for row in rows.values() if row.get("same") and row["difference"]["rows"]
    }
    assert compared == set(ARMS) - {"e2"}
    copies = {arm: row["copies"] for (arm, _), row in rows.items()}
    assert copies == {"a": 2, "b": 2} | dict.fromkeys(("c", "c+", "d", "e0", "e1", "e2"), 1)


@pytest.mark.cuda
def test_all_arms_run_on_a_gpu_and_find_the_same(bare, tmp_path):
    measure(
        bare,
        "bench_gpu",
        *("--networks", "light", "--size", 192, "--tasks", 2, "--chunks", 4, "--budgets", 80),
        *("--largest", 8, "--repeats", 1, "--seconds", 1, "--task-items", 16),
        *("--results", tmp_path, "--minutes", 30),
    )
    rows = json.loads((tmp_path / "gpu.json").read_text())["cells"]
    assert {row["arm"] for row in rows} == set(ARMS)
    assert all(row["same"] for row in rows if row["arm"] != "e2")


def test_copies_that_the_budget_does_not_hold_are_told(bare, tmp_path):
    said = measure(
        bare,
        "bench_sharing",
        *("--networks", "simulated", "--arms", "b", "--tasks", 2, 4, "--chunks", 4),
        *("--budgets", 2, "--repeats", 1, "--results", tmp_path),
    )
    record = json.loads((tmp_path / "simulated.json").read_text())
    assert [row["tasks"] for row in record["cells"] if row["unfit"]] == [2, 4]
    assert "do not fit either" in said or said.count("share is") == 2


def test_the_sweep_of_a_gpu_runs_on_a_processor_and_goes_on_where_it_ended(bare, tmp_path):
    path = tmp_path / "gpu.json"
    options = (
        *("--device", "cpu", "--size", 32, "--width", 64, "--layers", 2, "--networks", "heavy"),
        *("--arms", "b", "d", "e0", "--without", "--tasks", 2, "--chunks", 4, "--budgets", 16),
        *("--largest", 4, "--repeats", 1, "--seconds", 0.5, "--results", tmp_path),
    )
    measure(bare, "bench_gpu", *options)
    record = json.loads(path.read_text())
    assert {row["arm"] for row in record["cells"]} == {"b", "d", "e0"}
    assert all(row["same"] for row in record["cells"])
    said = measure(bare, "bench_gpu", *options)
    assert "0 runs are missing" in said
    assert len(json.loads(path.read_text())["runs"]) == len(record["runs"])
