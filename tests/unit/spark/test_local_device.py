"""What a local run computes on."""

from __future__ import annotations

import pytest

from carpool.spark.local_device import local_device
from carpool.spec import validate_job
from support.job_documents import job_document


def spec(device):
    return validate_job(job_document(spec__device=device), "job").spec


@pytest.fixture
def device_files(tmp_path):
    (tmp_path / "null").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["nvidia0", "nvidia7", "dxg"])
def test_a_job_that_asks_for_a_gpu_gets_the_machines(device_files, name):
    (device_files / name).touch()

    assert local_device(spec("GPU"), device_files=device_files, environment={}) == "cuda:0"
    assert local_device(spec("CPU"), device_files=device_files, environment={}) == "cpu"


def test_a_machine_without_one_computes_on_its_cpu(device_files):
    (device_files / "nvidiactl").touch()  # the driver, without a device

    assert local_device(spec("GPU"), device_files=device_files, environment={}) == "cpu"


@pytest.mark.parametrize(("visible", "device"), [("", "cpu"), ("-1", "cpu"), ("3", "cuda:0")])
def test_a_gpu_that_is_hidden_from_cuda_is_none(device_files, visible, device):
    (device_files / "nvidia0").touch()

    found = local_device(
        spec("GPU"), device_files=device_files, environment={"CUDA_VISIBLE_DEVICES": visible}
    )

    assert found == device
