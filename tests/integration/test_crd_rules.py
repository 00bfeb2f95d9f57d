"""Each rule between fields, tried on the API server from both sides, with its message.

The models' rules and the CEL expressions beside them are one list (`Rule`); that every rule of the
committed definitions has its objects here is a test of its own.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from carpool.errors import SpecError
from carpool.spec import GpuNode, InferenceJob, validate_job
from carpool.spec.schema import RULES, schema_with_rules
from support.control_plane.client import ApiClient, ApiError
from support.custom_resources import GPU_NODES, jobs, schema
from support.job_documents import REMOVED, job_document
from support.schema_cases import rules_of

PYTHON = {"format": "Python", "handler": "a:B"}
TORCH = {"format": "TorchExport", "uri": "a.pt2"}
PINNED = {"sha256": "0" * 64}
WITH_CODE = {"spec__spark__conf": {"spark.archives": "a.zip"}}
SETTINGS = ("is set by Carpool", "has a field of its own")

# Field and the start of the message: changes of the smallest job that keep it, and that break it.
JOB_RULES: dict[tuple[str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    ("spec.model.uri", "missing; format Darknet"): (
        [{}],
        [{"spec__model__uri": REMOVED}],
    ),
    ("spec.model.uri", "missing; format TorchExport"): (
        [{"spec__model": TORCH}],
        [{"spec__model": {"format": "TorchExport"}}],
    ),
    ("spec.model.handler", "missing; format Python"): (
        [{"spec__model": PYTHON}],
        [{"spec__model": {"format": "Python"}}],
    ),
    ("spec.model.handler", "format Darknet has its own"): (
        [{"spec__model": {**TORCH, "handler": "a:B"}}],
        [{"spec__model__handler": "a:B"}],
    ),
    ("spec.model.sha256", "missing; a model that is not a local file"): (
        [
            {"spec__model__uri": "file:///a.cfg"},
            {"spec__model__uri": "FILE://a.cfg"},
            {"spec__model": {**TORCH, "uri": "s3://a.pt2", **PINNED}},
        ],
        [
            {"spec__model__uri": "s3://a.cfg"},
            {"spec__model__uri": "files://a.cfg"},
            {"spec__model__uri": "://a.cfg"},
            {"spec__model": {**PYTHON, "uri": "gs://a.safetensors"}},
        ],
    ),
    ("spec.model.allowCode", "spec.model.uri names a file"): (
        [
            {"spec__model": {**PYTHON, "uri": "a.safetensors"}},
            {"spec__model": {**PYTHON, "uri": "apth"}},
            {"spec__model": {**PYTHON, "uri": "a.pth", "allowCode": True}},
            {"spec__model": {**TORCH, "uri": "a.zip"}},
        ],
        [
            {"spec__model": {**PYTHON, "uri": "a.pth"}},
            {"spec__model": {**PYTHON, "uri": "A.ZIP"}},
            {"spec__model": {**PYTHON, "uri": "a.pt2"}},
            {"spec__model": {**PYTHON, "uri": "a.safetensors.pkl", "allowCode": False}},
        ],
    ),
    ("spec.model.allowCode", "spec.spark.conf brings Python code"): (
        [
            {"spec__model": {**PYTHON, "allowCode": True}, **WITH_CODE},
            {"spec__model": TORCH, **WITH_CODE},
            WITH_CODE,
        ],
        [
            {"spec__model": PYTHON, **WITH_CODE},
            {"spec__model": {**TORCH, "handler": "a:B"}, **WITH_CODE},
            {"spec__model": PYTHON, "spec__spark__conf": {"spark.submit.pyFiles": "a.py"}},
        ],
    ),
    ("spec.tracking", "only videos can be tracked"): (
        [{"spec__tracking": {}}, {"spec__input__kind": "Images"}],
        [
            {"spec__tracking": {}, "spec__input__kind": "Images"},
            {"spec__tracking": {}, "spec__input__kind": "Parquet"},
        ],
    ),
    ("spec.gpu", "has no meaning with device CPU"): (
        [{"spec__gpu": {}}, {"spec__gpu": {}, "spec__device": "GPU"}, {"spec__device": "CPU"}],
        [{"spec__gpu": {}, "spec__device": "CPU"}],
    ),
    ("spec.gpu.executorsPerGPU", "must be 1 with ownership Exclusive"): (
        [
            {"spec__gpu": {"ownership": "Exclusive"}},
            {"spec__gpu": {"ownership": "Exclusive", "executorsPerGPU": 1, "memory": "8Gi"}},
            {"spec__gpu": {"ownership": "Pool", "executorsPerGPU": 2}},
            {"spec__gpu": {"executorsPerGPU": 2}},
        ],
        [{"spec__gpu": {"ownership": "Exclusive", "executorsPerGPU": 2}}],
    ),
    ("spec.gpu.sharedWith", "must be Job with ownership Exclusive"): (
        [
            {"spec__gpu": {"ownership": "Exclusive", "sharedWith": "Job", "placement": "Pack"}},
            {"spec__gpu": {"ownership": "Pool", "sharedWith": "Any"}},
        ],
        [
            {"spec__gpu": {"ownership": "Exclusive", "sharedWith": "Namespace"}},
            {"spec__gpu": {"ownership": "Exclusive", "sharedWith": "Any"}},
        ],
    ),
    ("spec.minExecutors", "is more than spec.executors"): (
        [{"spec__minExecutors": 1}, {"spec__minExecutors": 3, "spec__executors": 3}],
        [{"spec__minExecutors": 2}, {"spec__minExecutors": 4, "spec__executors": 3}],
    ),
    ("spec.spark.conf", "every key must start with spark."): (
        [{"spec__spark__conf": {}}, {"spec__spark__conf": {"spark.a": "1", "spark.b": "2"}}],
        [{"spec__spark__conf": {"a": "1"}}, {"spec__spark__conf": {"spark.a": "1", "spark": "2"}}],
    ),
}
NODE_RULES = {
    ("status.gpuCount", "is not the number of gpus;"): ({}, {"gpuCount": 1}),
    ("status.healthyCount", "is not the number of gpus that are"): ({}, {"healthyCount": 2}),
}


def committed(plural: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rules of a definition on one object, by the blamed field and the message."""
    return {
        (".".join([*map(str, path)]) + rule["fieldPath"], rule["message"]): rule
        for path, rule in rules_of(schema(plural))
        if "oldSelf" not in rule["rule"]
    }


JOBS = committed("inferencejobs")
OF_SETTINGS = {
    key: message.split()[0]
    for key in JOBS
    for message in [key[1]]
    if any(words in message for words in SETTINGS)
}


def prefix_of(key: tuple[str, str], rules: Any) -> list[tuple[str, str]]:
    return [start for start in rules if start[0] == key[0] and key[1].startswith(start[1])]


def test_every_rule_has_its_objects_here():
    for key in JOBS.keys() - OF_SETTINGS.keys():
        assert len(prefix_of(key, JOB_RULES)) == 1, key
    assert len(JOBS) == len(JOB_RULES) + len(OF_SETTINGS)
    nodes = {
        (field.replace("status.gpus.0.", "status.gpus[0]."), message)
        for field, message in committed("gpunodes")
    }
    assert len(nodes) == len(NODE_RULES)
    for key in nodes:
        assert len(prefix_of(key, NODE_RULES)) == 1, key


def test_every_rule_of_the_models_is_a_rule_of_the_api_server():
    rules = [
        rule
        for model in (InferenceJob, GpuNode)
        for definition in schema_with_rules(model)["$defs"].values()
        for rule in definition.get(RULES, ())
    ]
    messages = {
        message for plural in ("inferencejobs", "gpunodes") for _, message in committed(plural)
    }
    assert {rule.message for rule in rules if rule.cel is not None} == messages
    # Lists of type map: the API server refuses a key that stands twice by itself.
    assert {rule.field for rule in rules if rule.cel is None} == {"conditions", "processes", "gpus"}


def message_of(key: tuple[str, str]) -> str:
    (message,) = [
        message for field, message in JOBS if field == key[0] and message.startswith(key[1])
    ]
    return message


def parameters(side: int) -> list[Any]:
    listed = [
        pytest.param(key, changes, id=f"{key[0]}-{key[1]}-{index}")
        for key, sides in JOB_RULES.items()
        for index, changes in enumerate(sides[side])
    ]
    for key, setting in OF_SETTINGS.items():
        # "spark.executor.resource.*": what begins so; else: that setting and no longer one.
        beginning = setting.removesuffix("*")
        kept = f"{setting}x" if beginning == setting else f"{beginning[:-1]}x"
        broken = setting if beginning == setting else f"{beginning}x"
        changes = {"spec__spark__conf": {(kept, broken)[side]: "1"}}
        listed.append(pytest.param(key, changes, id=setting))
    return listed


@pytest.mark.parametrize(("key", "changes"), parameters(0))
def test_job_that_keeps_a_rule_is_accepted(api: ApiClient, key, changes):
    validate_job(job_document(**changes), "job")
    api.post(jobs("default"), job_document(**changes), dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize(("key", "changes"), parameters(1))
def test_job_that_breaks_a_rule_is_refused_with_its_message_by_both(api: ApiClient, key, changes):
    field, _ = key
    message = message_of(key)
    with pytest.raises(SpecError) as refused:
        validate_job(job_document(**changes), "job")
    assert str(refused.value) == f"job: {field}: {message}"
    with pytest.raises(ApiError) as caught:
        api.post(jobs("default"), job_document(**changes), dryRun="All")
    kind = {
        "FieldValueRequired": "Required value",
        "FieldValueForbidden": "Forbidden",
        "FieldValueInvalid": "Invalid value",
    }[JOBS[key[0], message]["reason"]]
    assert caught.value.causes == [(field, f"{kind}: {message}")]


@pytest.fixture(scope="module")
def node(cluster) -> dict[str, Any]:
    made = {"apiVersion": "carpool.dev/v1alpha1", "kind": "GPUNode", "metadata": {"name": "rules"}}
    gpu = {"product": "NVIDIA L4", "memory": "23034Mi"}
    status = {
        "bootID": "a",
        "driverVersion": "570.124.06",
        "heartbeatTime": "2026-05-04T10:20:30Z",
        "gpuCount": 2,
        "healthyCount": 1,
        "gpus": [
            {**gpu, "uuid": "GPU-0", "health": "Healthy"},
            {**gpu, "uuid": "GPU-1", "health": "Lost"},
        ],
    }
    return cluster.admin.post(GPU_NODES, made) | {"status": status}


@pytest.mark.parametrize("key", NODE_RULES)
def test_gpu_node_whose_counts_are_wrong_is_refused(api: ApiClient, node, key):
    kept, broken = NODE_RULES[key]
    path = f"{GPU_NODES}/rules/status"
    api.put(path, node | {"status": node["status"] | kept}, dryRun="All")
    GpuNode.model_validate(node, by_alias=True, by_name=False)
    wrong = deepcopy(node) | {"status": node["status"] | broken}
    with pytest.raises(ApiError) as caught:
        api.put(path, wrong, dryRun="All")
    ((field, words),) = caught.value.causes
    assert field == key[0]
    assert words.startswith(f"Invalid value: {key[1]}")
    with pytest.raises(ValueError, match=key[1]):
        GpuNode.model_validate(wrong, by_alias=True, by_name=False)
