"""Reading GPUs through NVML, by the real binding and a library that answers as it is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import pynvml
import pytest

from carpool_operator.agent.nvml import Nvml
from carpool_operator.errors import DriverUnusable, GpuFailed
from support.mock_nvml.node import MockNode, MockPart


@pytest.fixture
def nvml(mock_node: MockNode, tmp_path: Path):
    opened = Nvml.open(tmp_path / "sys")
    yield opened
    opened.close()


def test_a_gpu_is_described_by_what_does_not_change(mock_node, nvml, tmp_path):
    address = tmp_path / "sys/bus/pci/devices/0000:3c:00.0"
    address.mkdir(parents=True)
    (address / "numa_node").write_text("1\n")
    [reading] = nvml.read(1).readings
    device = reading.device
    assert (device.uuid, device.product) == (mock_node.uuids[1], "NVIDIA L4")
    assert device.memory == 23034 * 1024**2
    assert (device.pci_address, device.minor, device.numa_node) == ("0000:3c:00.0", 1, 1)
    assert device.mig is None


@pytest.mark.parametrize("text", ["-1\n", "x", None])
def test_a_machine_with_one_numa_node_says_so_in_its_own_way(text, nvml, tmp_path):
    address = tmp_path / "sys/bus/pci/devices/0000:3b:00.0"
    address.mkdir(parents=True)
    if text is not None:
        (address / "numa_node").write_text(text)
    assert nvml.read(0).readings[0].device.numa_node is None


def test_what_it_does_is_read_each_time(mock_node, nvml):
    gpu = mock_node.gpus[0]
    gpu.util, gpu.temp, gpu.used, gpu.pids = 37, 61, 2**30, [30, 10, 20]
    mock_node.write()
    [reading] = nvml.read(0).readings
    assert reading.load.utilisation == 0.37
    assert reading.load.temperature == 61
    assert reading.load.memory_used == 2**30
    assert reading.pids == (10, 20, 30)


def test_what_a_device_does_not_tell_is_absent(mock_node, nvml):
    gpu = mock_node.gpus[0]
    gpu.util, gpu.temp, gpu.minor = -1, -1, -1
    mock_node.write()
    [reading] = nvml.read(0).readings
    assert reading.load.utilisation is None
    assert reading.load.temperature is None
    assert reading.device.minor is None


def test_a_gpu_that_is_cut_is_its_mig_devices(mock_node, nvml):
    gpu = mock_node.gpus[2]
    gpu.mig, gpu.name = 1, "NVIDIA H100"
    gpu.parts = [
        MockPart("MIG-a", gi=1, pids=[5]),
        MockPart("MIG-b", profile="3g.40gb", gi=2, memory=40 * 1024**3),
    ]
    mock_node.write()
    read = nvml.read(2)
    assert read.uuid == gpu.uuid
    first, second = read.readings
    assert first.device.mig.parent == second.device.mig.parent == gpu.uuid
    assert [first.device.mig.profile, second.device.mig.profile] == ["1g.10gb", "3g.40gb"]
    assert first.device.product == "NVIDIA H100"
    assert second.device.memory == 40 * 1024**3
    assert (first.pids, second.pids) == ((5,), ())
    gpu.parts = []
    mock_node.write()
    assert nvml.read(2).readings == ()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET, "reset of the GPU"),
        (pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT, "reboot of the node"),
        (pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET, "drain the GPU"),
    ],
)
def test_what_the_driver_asks_for_is_trouble(mock_node, nvml, action, words):
    mock_node.gpus[0].recovery = action
    mock_node.write()
    assert words in nvml.read(0).readings[0].trouble
    assert nvml.read(1).readings[0].trouble is None


def test_memory_that_could_not_be_repaired_is_trouble_with_drivers_that_ask_for_nothing(
    mock_node, nvml
):
    mock_node.gpus[0].recovery = -1
    mock_node.write()
    assert nvml.read(0).readings[0].trouble is None
    mock_node.gpus[0].remap_failed = 1
    mock_node.write()
    assert "needs repair" in nvml.read(0).readings[0].trouble


def test_a_lost_gpu_is_named_where_it_answered_before_and_the_others_answer(mock_node, nvml):
    nvml.read(1)
    for gpu in mock_node.gpus[1:3]:
        gpu.lost = 1
    mock_node.write()
    for index, uuid in ((1, mock_node.uuids[1]), (2, None)):
        with pytest.raises(GpuFailed) as failed:
            nvml.read(index)
        assert failed.value.lost
        assert failed.value.uuid == uuid
    assert nvml.read(0).readings
    assert nvml.count() == 4


def test_a_lost_gpu_is_seen_again_by_a_new_session_alone(mock_node, nvml, tmp_path):
    mock_node.gpus[1].lost = 1
    mock_node.write()
    with pytest.raises(GpuFailed):
        nvml.read(1)
    mock_node.gpus[1].lost = 0
    mock_node.write()
    with pytest.raises(GpuFailed):
        nvml.read(1)
    nvml.close()
    assert Nvml.open(tmp_path).read(1).uuid == mock_node.uuids[1]


CODES = sorted(
    value
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_") and isinstance(value, int)
)
ABOUT_ALL = {
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
}


@pytest.mark.parametrize("code", CODES)
def test_every_error_of_a_gpu_is_its_own_but_for_those_about_all(mock_node, nvml, code):
    nvml.read(0)
    mock_node.gpus[0].error = code
    mock_node.write()
    with pytest.raises((GpuFailed, DriverUnusable)) as failed:
        nvml.read(0)
    assert isinstance(failed.value, DriverUnusable) == (code in ABOUT_ALL)
    assert str(failed.value)
    if isinstance(failed.value, GpuFailed):
        assert failed.value.uuid == mock_node.uuids[0]


@pytest.mark.parametrize("code", CODES)
def test_every_error_at_the_start_is_a_driver_that_cannot_be_used(mock_node, tmp_path, code):
    mock_node.init = code
    mock_node.write()
    with pytest.raises(DriverUnusable) as unusable:
        Nvml.open(tmp_path)
    mismatch = code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    assert unusable.value.other_version == mismatch


def test_a_machine_without_the_library_has_no_driver(tmp_path):
    # Nothing that could be loaded, also where the machine has one.
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    code = """
from pathlib import Path
from carpool_operator.agent.nvml import Nvml
from carpool_operator.errors import DriverUnusable
for _ in range(2):
    try:
        Nvml.open(Path("/sys"))
    except DriverUnusable as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("there is no libnvidia-ml.so.1")


class Watch:
    """`Nvml.watch` in a thread."""

    def __init__(self, nvml: Nvml) -> None:
        self.events: Queue = Queue()
        self._stop, self.watching = threading.Event(), threading.Event()
        self.error: DriverUnusable | None = None
        self._thread = threading.Thread(target=self._run, args=(nvml,), daemon=True)
        self._thread.start()

    def _run(self, nvml: Nvml) -> None:
        try:
            nvml.watch(self.events.put, self._stop, self.watching)
        except DriverUnusable as error:
            self.error = error

    def wait_ended(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self.wait_ended()


@pytest.fixture
def watch(nvml):
    made = Watch(nvml)
    assert made.watching.wait(10)
    yield made
    made.stop()


def test_errors_come_as_the_driver_reports_them(mock_node, watch):
    part = MockPart("MIG-a", gi=4, ci=1)
    mock_node.xid(2, 79)
    mock_node.xid(0, 13, part)
    first, second = watch.events.get(timeout=10), watch.events.get(timeout=10)
    assert (first.uuid, first.code, first.gpu_instance) == (mock_node.uuids[2], 79, None)
    assert (second.uuid, second.code) == (mock_node.uuids[0], 13)
    assert (second.gpu_instance, second.compute_instance) == (4, 1)


def test_an_error_of_a_gpu_that_is_gone_still_names_it(mock_node, watch):
    mock_node.gpus[3].lost = 1
    mock_node.xid(3, 79)
    assert watch.events.get(timeout=10).uuid == mock_node.uuids[3]


def test_one_gpu_that_does_not_answer_does_not_keep_the_others_from_being_heard(mock_node, nvml):
    mock_node.gpus[0].lost = 1
    mock_node.write()
    watch = Watch(nvml)
    assert watch.watching.wait(10)
    mock_node.xid(1, 48)
    assert watch.events.get(timeout=10).uuid == mock_node.uuids[1]
    watch.stop()


def test_the_end_of_the_driver_ends_the_watch(mock_node, watch):
    mock_node.init = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    mock_node.write()
    watch.wait_ended()
    assert watch.error is not None
