from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from carpool.spec import InferenceJob, InferenceJobSpec, VideoSpec, validate_job
from support.job_documents import job_document


def spec_of(**changes) -> InferenceJobSpec:
    return validate_job(job_document(**changes), "test").spec


def test_smallest_job_gets_all_defaults():
    spec = spec_of()
    assert spec.model.sha256 is None
    assert spec.model.allow_code is False
    assert spec.model.handler is None
    assert spec.model.parameters == {}
    assert spec.model.precision == "Auto"
    assert (spec.input.kind, spec.input.uris) == ("Video", ["clip.mp4"])
    assert (spec.input.video.chunk_seconds, spec.input.video.every_nth_frame) == (30, 1)
    assert spec.tracking is None
    assert spec.output.mode == "Resume"
    assert (spec.storage.secret_name, spec.storage.endpoint, spec.storage.region) == (None,) * 3
    assert (spec.device, spec.executors, spec.required_executors) == ("GPU", 1, 1)
    assert spec.sharing == "Shared"
    assert spec.gpu is None
    assert (spec.host.cpu, spec.host.memory) == (None, None)
    assert (spec.batching.max_size, spec.batching.deterministic) == (None, False)
    assert (spec.spark.executor.cores, spec.spark.executor.memory) == (4, "4Gi")
    assert (spec.spark.driver.cores, spec.spark.driver.memory) == (1, "2Gi")
    policy = spec.failure_policy
    assert (policy.bad_inputs, policy.max_bad_percent, policy.backoff_limit) == (
        "Quarantine",
        100,
        3,
    )
    assert spec.suspend is False


def test_empty_tracking_and_gpu_switch_them_on_with_defaults():
    spec = spec_of(spec__tracking={}, spec__gpu={})
    assert spec.tracking is not None
    assert spec.tracking.algorithm == "ByteTrack"
    assert spec.gpu is not None
    assert (spec.gpu.ownership, spec.exclusive_gpus) == ("Pool", False)
    assert (spec.gpu.executors_per_gpu, spec.gpu.shared_with, spec.gpu.placement) == (
        1,
        "Job",
        "Spread",
    )


def test_null_counts_as_absent():
    spec = spec_of(spec__tracking=None, spec__batching=None, spec__input__video=None)
    assert spec == spec_of()


def test_null_parameters_of_a_handler_are_kept():
    assert spec_of(spec__model__parameters={"classes": None}).model.parameters == {"classes": None}


def test_minimum_of_executors_defaults_to_all_of_them():
    assert spec_of(spec__executors=5).required_executors == 5
    assert spec_of(spec__executors=5, spec__minExecutors=2).required_executors == 2


def test_gpu_keeps_its_capitals_in_yaml():
    gpu = spec_of(spec__gpu={"executorsPerGPU": 3}).gpu
    assert gpu is not None
    assert gpu.executors_per_gpu == 3
    assert gpu.model_dump(by_alias=True)["executorsPerGPU"] == 3


def test_code_builds_models_by_attribute_name():
    assert VideoSpec(chunk_seconds=5).chunk_seconds == 5
    assert VideoSpec(chunk_seconds=5).model_dump() == {"chunkSeconds": 5, "everyNthFrame": 1}


def test_models_cannot_be_changed():
    spec = spec_of()
    with pytest.raises(ValidationError, match="frozen"):
        spec.executors = 2


def test_jobs_do_not_share_their_defaults():
    spec_of().model.parameters["a"] = 1
    assert spec_of().model.parameters == {}


def test_object_read_back_from_a_cluster_is_valid():
    document = job_document(
        metadata__namespace="traffic",
        metadata__uid="0b6c5b5e-6f3a-4c43-8d1a-1f2c55b3a001",
        metadata__generation=2,
        metadata__resourceVersion="4711",
        metadata__creationTimestamp="2026-05-04T10:20:30Z",
        metadata__managedFields=[{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        status={
            "observedGeneration": 2,
            "phase": "Detecting",
            "conditions": [
                {
                    "type": "Accepted",
                    "status": "True",
                    "lastTransitionTime": "2026-05-04T10:20:31Z",
                    "reason": "Valid",
                    "message": "",
                }
            ],
            "attempt": 1,
            "progress": {
                "unit": "frames",
                "total": 900_000,
                "done": 412_000,
                "failed": 0,
                "display": "412k/900k (45%)",
                "rate": "2130/s",
                "eta": "3m49s",
            },
            "gpus": {"reserved": 2, "ready": 2},
            "model": {"copies": 2, "memory": "250Mi", "savedMemory": "3750Mi"},
            "driverPod": "smallest-1-driver",
            "output": "s3://traffic/results",
            "failures": [
                {
                    "time": "2026-05-04T10:21:00Z",
                    "reason": "FramesMissing",
                    "message": "117 of 250 frames",
                    "location": "s3://traffic/a.mp4",
                }
            ],
        },
    )
    status = validate_job(document, "test").status
    assert status is not None
    assert status.conditions[0].type == "Accepted"
    assert status.progress is not None
    assert status.progress.done == 412_000


def test_an_older_reader_can_ignore_fields_of_a_newer_version():
    document = job_document(spec__input__later=1, spec__later={})
    job = InferenceJob.model_validate(document, extra="ignore")
    assert job == validate_job(job_document(), "test")


def test_spec_imports_nothing_heavy():
    script = (
        "import sys, carpool.spec\n"
        "tops = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*sorted(name for name in tops if not name.startswith('_')))"
    )
    # -S keeps .pth files of other packages out; the paths are handed over instead.
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(found) <= {
        "annotated_types",
        "carpool",
        "cython_runtime",  # of PyYAML's extension module
        "pydantic",
        "pydantic_core",
        "typing_extensions",
        "typing_inspection",
        "yaml",
    }
