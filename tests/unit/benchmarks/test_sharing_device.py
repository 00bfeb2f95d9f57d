"""What is read of a GPU's driver while a cell is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.sharing.device_load import DeviceLoad, means
from benchmarks.sharing.workloads import Target

PROGRAM = """#!/bin/sh
printf '50, 300.5\\n100, 400.5\\n7'
: > {told}
exec sleep 60
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe that is written to when what stands for the driver's program has spoken."""
    told = tmp_path / "told"
    os.mkfifo(told)
    program = tmp_path / "nvidia-smi"
    program.write_text(PROGRAM.format(told=told))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return told


def test_load_is_the_mean_of_what_the_driver_said_meanwhile(told: Path) -> None:
    load = DeviceLoad(Target("cuda", "cuda:0", cores=1))

    load.begin()
    told.read_bytes()

    assert load.end() == {"gpu_busy": 0.75, "watts": 350.5}
    assert load.end() == {}


@pytest.mark.usefixtures("told")
def test_another_device_has_no_load() -> None:
    load = DeviceLoad(Target("cpu", "cpu", cores=1))

    load.begin()

    assert load.end() == {}


def test_what_the_driver_does_not_know_is_left_out() -> None:
    assert means(["10, [N/A]", "30, [N/A]"]) == [20.0, None]
    assert means([]) == [None, None]
