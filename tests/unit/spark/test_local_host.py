"""What the hosts of a local run are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from carpool.spark.local_host import host_config, host_directories
from carpool.spec import InferenceJobSpec, validate_job
from carpool.vision.model import ResolvedModel
from support.job_documents import job_document

MIB = 1 << 20
MODEL = ResolvedModel("module:Class", {}, None, {}, {}, "Auto")


def spec(**changes: Any) -> InferenceJobSpec:
    return validate_job(job_document(**changes), "job").spec


def test_all_tasks_share_one_host_or_each_has_its_own() -> None:
    run = Path("run")
    assert host_directories(spec(), run) == (run,)
    own = spec(spec__sharing="PerTask", spec__spark={"executor": {"cores": 3}})
    assert host_directories(own, run) == (run / "host-0", run / "host-1", run / "host-2")


def test_memory_of_the_host_is_divided_into_what_tasks_share_with_it_and_the_models() -> None:
    config = host_config(spec(spec__host={"memory": "4Gi"}), MODEL, 1)
    assert (config.memory_bytes, config.arena_bytes) == (3072 * MIB, 1024 * MIB)
    large = host_config(spec(spec__host={"memory": "64Gi"}), MODEL, 1)
    assert large.arena_bytes == host_config(spec(), MODEL, 1).arena_bytes
    assert large.memory_bytes is not None
    assert large.memory_bytes + large.arena_bytes == 64 << 30


def test_without_a_bound_the_host_has_none() -> None:
    assert host_config(spec(), MODEL, 1).memory_bytes is None


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_together_have_what_one_would_have(hosts: int) -> None:
    job = spec(spec__host={"cpu": "4", "memory": "4Gi"}, spec__spark={"executor": {"cores": 4}})
    config = host_config(job, MODEL, hosts)
    assert config.threads * hosts == 4
    assert config.expected_clients * hosts == 4
    assert config.memory_bytes is not None
    assert (config.memory_bytes + config.arena_bytes) * hosts == 4096 * MIB


def test_threads_are_the_machines_unless_results_must_not_depend_on_it() -> None:
    assert host_config(spec(), MODEL, 1).compute_threads == len(os.sched_getaffinity(0))
    assert host_config(spec(spec__batching={"deterministic": True}), MODEL, 1).compute_threads == 1


def test_on_a_cpu_a_request_is_no_longer_than_what_is_computed_soon() -> None:
    on_gpu = host_config(spec(spec__device="GPU"), MODEL, device="cuda:0")
    assert host_config(spec(), MODEL, 1).request_items < on_gpu.request_items


def test_on_a_gpu_the_host_has_its_memory_or_its_part_of_a_gpu_whose_size_nobody_knows() -> None:
    def share(hosts: int = 1, **gpu: Any) -> tuple[int | None, float | None]:
        job = spec(spec__device="GPU", spec__gpu=gpu or None)
        config = host_config(job, MODEL, hosts, device="cuda:0")
        return config.memory_bytes, config.memory_fraction

    assert share() == (None, 1.0)
    assert share(executorsPerGPU=4) == (None, 0.25)
    assert share(executorsPerGPU=4, memory="8Gi") == (8 << 30, None)
    assert share(hosts=2, executorsPerGPU=4) == (None, 0.125)
    assert share(hosts=2, memory="8Gi") == (4 << 30, None)
