"""Each bound of each field, tried on the API server from both sides, with the words of the refusal.

The cases are made from the committed definitions, so a new field brings its own.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from support.control_plane.client import ApiClient, ApiError
from support.custom_resources import GPU_NODES, jobs, schema
from support.job_documents import job_document
from support.schema_cases import Case, cases_of, place, valid, valid_list, walk, written

NOT_CHECKED = "Invalid value: null: some validation rules were not checked"
JOB_SCHEMA = schema("inferencejobs")
NODE_SCHEMA = schema("gpunodes")


def cases_below(root: dict[str, Any], field: str) -> list[Case]:
    node = root["properties"][field]
    return [
        case
        for path, inner in walk(node, (field,))
        for case in cases_of(path, inner, body_name(path))
    ]


def body_name(path: tuple[str | int, ...]) -> str:
    """The name in messages: an update of the status is checked from the status on."""
    return written(path[1:] if path[0] == "status" else path)


def refusals(error: ApiError, case: Case) -> list[str]:
    """What is said about the field; says nothing about others."""
    assert all(
        field.startswith((case.field, "<nil>")) or "is not the number of gpus" in words
        for field, words in error.causes
    ), error.causes
    assert all(words.startswith(NOT_CHECKED) for field, words in error.causes if field == "<nil>")
    return [words for field, words in error.causes if field == case.field]


def judged(case: Case, send) -> None:
    """Send the object, and compare what becomes of it."""
    if case.refusal is None:
        send()
        return
    with pytest.raises(ApiError) as caught:
        send()
    assert caught.value.code == 422
    assert case.refusal in refusals(caught.value, case)


@pytest.mark.parametrize("case", cases_below(JOB_SCHEMA, "spec"), ids=str)
def test_spec_of_a_job(api: ApiClient, case: Case):
    job = job_document(
        spec__model={"format": "Python", "handler": "a:B", "uri": "a", "sha256": "0" * 64},
        # So that every bound of minExecutors can be tried.
        spec__executors=10_000,
    )
    place(job, JOB_SCHEMA, case.path, case.value)
    if case.value == "Darknet":
        del job["spec"]["model"]["handler"]
    judged(case, lambda: api.post(jobs("default"), job, dryRun="All", fieldValidation="Strict"))


@pytest.fixture(scope="module")
def stored_job(cluster) -> dict[str, Any]:
    return cluster.admin.post(jobs("default"), job_document(metadata__name="bounds-of-status"))


@pytest.mark.parametrize("case", cases_below(JOB_SCHEMA, "status"), ids=str)
def test_status_of_a_job(api: ApiClient, stored_job: dict[str, Any], case: Case):
    job = deepcopy(stored_job)
    job["status"] = {}
    place(job, JOB_SCHEMA, case.path, case.value)
    path = f"{jobs('default')}/bounds-of-status/status"
    judged(case, lambda: api.put(path, job, dryRun="All", fieldValidation="Strict"))


@pytest.fixture(scope="module")
def stored_node(cluster) -> dict[str, Any]:
    node = {"metadata": {"name": "bounds"}}
    return cluster.admin.post(
        GPU_NODES, {"apiVersion": "carpool.dev/v1alpha1", "kind": "GPUNode", **node}
    )


@pytest.mark.parametrize("case", cases_below(NODE_SCHEMA, "status"), ids=str)
def test_status_of_a_gpu_node(api: ApiClient, stored_node: dict[str, Any], case: Case):
    node = deepcopy(stored_node)
    status = NODE_SCHEMA["properties"]["status"]
    node["status"] = valid(status) | {"gpus": valid_list(status["properties"]["gpus"], 1)}
    place(node, NODE_SCHEMA, case.path, case.value)
    if case.refusal is None:
        keep_counts(node["status"], case)
    judged(
        case,
        lambda: api.put(f"{GPU_NODES}/bounds/status", node, dryRun="All", fieldValidation="Strict"),
    )


def keep_counts(status: dict[str, Any], case: Case) -> None:
    """Make the gpus fit a count that is tried, or the counts fit the gpus."""
    if case.path[-1] in ("gpuCount", "healthyCount"):
        gpus = NODE_SCHEMA["properties"]["status"]["properties"]["gpus"]
        status["gpus"] = valid_list(gpus, case.value)
    gpus = status.get("gpus", [])
    status["gpuCount"] = len(gpus)
    status["healthyCount"] = sum(gpu["health"] == "Healthy" for gpu in gpus)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a" * 41, "Too long: may not be more than 40 bytes"),
        ("a.b", "metadata.name in body should match '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'"),
    ],
)
def test_name_of_a_job_leaves_room_for_what_spark_appends(api: ApiClient, name: str, words: str):
    api.post(jobs("default"), job_document(metadata__name=name[:1]), dryRun="All")
    with pytest.raises(ApiError, match=name) as caught:
        api.post(jobs("default"), job_document(metadata__name=name), dryRun="All")
    assert any(field == "metadata.name" and words in text for field, text in caught.value.causes)
