"""Which changes of a job the API server lets pass, at each stage of its life.

Every field of the spec is tried, set anew and taken away, on a job that waits, runs, is suspended
and has finished.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from carpool.spec import InferenceJobSpec
from carpool.spec.mutability import (
    ALWAYS,
    FIXED,
    FIXED_MESSAGE,
    SUSPENDED,
    SUSPENDED_MESSAGE,
)
from support.control_plane.client import ApiClient, ApiError
from support.custom_resources import jobs
from support.job_documents import job_document

FULL: dict[str, Any] = {
    "model": {
        "format": "Python",
        "handler": "a:B",
        "uri": "a.safetensors",
        "parameters": {"threshold": 1, "names": {"a": 1}},
    },
    "input": {"kind": "Video", "uris": ["a.mp4"], "video": {"chunkSeconds": 5}},
    "tracking": {"parameters": {"lostTrackBuffer": 30}},
    "output": {"uri": "out"},
    "storage": {"region": "eu-central-1"},
    "device": "GPU",
    "executors": 3,
    "minExecutors": 2,
    "sharing": "Shared",
    "gpu": {"executorsPerGPU": 2, "nodeSelector": {"a": "b"}},
    "host": {"cpu": "2"},
    "batching": {"maxSize": 8, "deterministic": True},
    "spark": {
        "conf": {"spark.a": "1"},
        "driverTemplate": {"spec": {"priorityClassName": "batch"}},
    },
    "failurePolicy": {"badInputs": "Fail", "maxBadPercent": 5, "backoffLimit": 1},
    "suspend": False,
    "startDeadlineSeconds": 60,
    "activeDeadlineSeconds": 600,
    "ttlSecondsAfterFinished": 6000,
}
# Path below spec: other values of it; None takes the field away.
CHANGES: dict[str, list[Any]] = {
    "model": [
        {**FULL["model"], "handler": "a:C"},
        # The same number of keys, by another name: CEL takes objects of unknown fields for equal.
        {**FULL["model"], "parameters": {"limit": 1, "names": {"a": 1}}},
        {**FULL["model"], "parameters": {"threshold": 1, "names": {"b": 1}}},
        {**FULL["model"], "parameters": {"threshold": 2, "names": {"a": 1}}},
        {"format": "Python", "handler": "a:B", "uri": "a.safetensors"},
    ],
    "input": [{**FULL["input"], "uris": ["b.mp4"]}, {"uris": ["a.mp4"]}],
    "tracking": [None, {"parameters": {"buffer": 30}}],
    "output": [{"uri": "other"}, {"uri": "out", "mode": "Overwrite"}],
    "batching.deterministic": [False, None],
    "storage": [None, {"region": "eu-west-1"}, {"region": "eu-central-1", "secretName": "s"}],
    "device": ["CPU"],
    "executors": [4],
    "minExecutors": [None, 1],
    "sharing": ["PerTask"],
    "gpu": [None, {"executorsPerGPU": 1}, {"executorsPerGPU": 2, "nodeSelector": {"c": "b"}}],
    "host": [None, {"cpu": "3"}, {"memory": "2Gi"}],
    "batching.maxSize": [None, 16],
    "spark": [
        None,
        {**FULL["spark"], "conf": {"spark.b": "1"}},
        {**FULL["spark"], "driverTemplate": {"metadata": {"priorityClassName": "batch"}}},
    ],
    "failurePolicy.badInputs": ["Quarantine", None],
    "failurePolicy.maxBadPercent": [6, None],
    "failurePolicy.backoffLimit": [2, None],
    "suspend": [True],
    "startDeadlineSeconds": [None, 61],
    "activeDeadlineSeconds": [None, 601],
    "ttlSecondsAfterFinished": [None, 1],
}
FINISHED = {
    "type": "Finished",
    "status": "True",
    "reason": "Succeeded",
    "message": "",
    "lastTransitionTime": "2026-05-04T10:20:30Z",
}
STAGES: dict[str, tuple[bool, dict[str, Any] | None]] = {
    "new": (False, None),
    "queued": (False, {"attempt": 0, "phase": "Queued"}),
    "running": (False, {"attempt": 1, "phase": "Detecting"}),
    "suspended": (True, {"attempt": 1, "phase": "Suspended"}),
    "finished": (False, {"attempt": 1, "conditions": [FINISHED]}),
    "finished-suspended": (True, {"attempt": 2, "conditions": [FINISHED]}),
}
LET_PASS = {
    "always": set(STAGES),
    "suspended": {"new", "queued", "suspended"},
    "fixed": {"new", "queued"},
}


def test_every_field_of_the_spec_has_its_place():
    listed = [*ALWAYS, *SUSPENDED, *FIXED]
    assert len(listed) == len(set(listed))
    top = {field.partition(".")[0] for field in listed}
    fields = {str(field.alias): field for field in InferenceJobSpec.model_fields.values()}
    assert top == fields.keys()
    for name in {field.partition(".")[0] for field in listed if "." in field}:
        inner = {str(child.alias) for child in fields[name].annotation.model_fields.values()}  # type: ignore[union-attr]
        assert {
            field.partition(".")[2] for field in listed if field.startswith(f"{name}.")
        } == inner
    assert CHANGES.keys() == set(listed)
    assert top == FULL.keys()


@pytest.fixture(scope="module")
def stages(cluster) -> dict[str, dict[str, Any]]:
    """A stored job of each stage."""
    made = {}
    for name, (suspend, status) in STAGES.items():
        job = job_document(metadata__name=f"stage-{name}", spec={**FULL, "suspend": suspend})
        stored = cluster.admin.post(jobs("default"), job)
        if status is not None:
            path = f"{jobs('default')}/stage-{name}/status"
            stored = cluster.admin.put(path, stored | {"status": status})
        made[name] = stored
    return made


def with_change(job: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    changed = deepcopy(job)
    *parents, last = field.split(".")
    place = changed["spec"]
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    if field == "device":
        del changed["spec"]["gpu"]
    return changed


def kind_of(field: str) -> str:
    return "always" if field in ALWAYS else "suspended" if field in SUSPENDED else "fixed"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}-{index}")
        for field, values in CHANGES.items()
        for index, value in enumerate(values)
    ],
)
def test_change(api: ApiClient, stages, stage: str, field: str, value: Any):
    job = stages[stage]
    changed = with_change(job, field, value)
    if field == "suspend":
        changed["spec"]["suspend"] = not job["spec"]["suspend"]
    path = f"{jobs('default')}/stage-{stage}"
    if stage in LET_PASS[kind_of(field)]:
        answer = api.put(path, changed, dryRun="All")
        assert answer["spec"] != job["spec"]
        return
    with pytest.raises(ApiError) as caught:
        api.put(path, changed, dryRun="All")
    message = {"suspended": SUSPENDED_MESSAGE, "fixed": FIXED_MESSAGE}[kind_of(field)]
    refused = {f"spec.{field}": f"Forbidden: {message}"}
    if field == "device":  # gpu goes with it
        refused["spec.gpu"] = f"Forbidden: {SUSPENDED_MESSAGE}"
    assert dict(caught.value.causes) == refused


@pytest.mark.parametrize("field", ["tracking", "gpu", "minExecutors", "storage", "host"])
def test_field_that_was_absent_cannot_appear_while_the_job_runs(api, namespace, field):
    stored = api.post(jobs(namespace), job_document(spec__executors=3))
    path = f"{jobs(namespace)}/smallest"
    stored = api.put(f"{path}/status", stored | {"status": {"attempt": 1}})
    stored["spec"][field] = FULL[field]
    with pytest.raises(ApiError) as caught:
        api.put(path, stored)
    assert [name for name, _ in caught.value.causes] == [f"spec.{field}"]


def test_status_labels_and_suspending_stay_possible_while_the_job_runs(api, namespace):
    stored = api.post(jobs(namespace), job_document())
    path = f"{jobs(namespace)}/smallest"
    stored = api.put(f"{path}/status", stored | {"status": {"attempt": 1}})
    stored = api.put(f"{path}/status", stored | {"status": {"attempt": 1, "phase": "Tracking"}})
    stored = api.merge(path, {"metadata": {"labels": {"camera": "12"}}})
    stored = api.merge(path, {"spec": {"suspend": True}})
    stored = api.merge(path, {"spec": {"executors": 4}})
    stored = api.merge(path, {"spec": {"suspend": False}})
    assert (stored["spec"]["executors"], stored["status"]["phase"]) == (4, "Tracking")
