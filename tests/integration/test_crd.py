"""The committed definitions on a real API server, and what kubectl makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.control_plane.client import ApiClient, ApiError
from support.control_plane.plane import ControlPlane
from support.custom_resources import DEFINITIONS, GPU_NODES, definition, jobs
from support.job_documents import job_document

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))
PLURALS = ["inferencejobs", "gpunodes"]


@pytest.mark.parametrize("plural", PLURALS)
def test_definition_is_stored_as_it_stands_in_the_file(api: ApiClient, plural):
    stored = api.get(f"{DEFINITIONS}/{plural}.carpool.dev")
    assert stored["spec"] == definition(plural)["spec"]


@pytest.mark.parametrize("plural", PLURALS)
def test_definition_is_established_and_structural(api: ApiClient, plural):
    status = api.get(f"{DEFINITIONS}/{plural}.carpool.dev")["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_accepted(cluster: ControlPlane, namespace, path):
    # Applied as a user would, but for the namespace that the file names.
    text = path.read_text().replace("  namespace: traffic\n", f"  namespace: {namespace}\n")
    applied = cluster.kubectl(
        "apply", "--validate=strict", "--namespace", namespace, "--filename=-", stdin=text
    )
    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""


def test_examples_were_found():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spec__outptu": {}}, "spec.outptu"),
        ({"spec__spark__executor__core": 4}, "spec.spark.executor.core"),
        ({"spec__input__video__fps": 4}, "spec.input.video.fps"),
    ],
)
def test_unknown_field_is_refused_by_name(cluster: ControlPlane, namespace, change, field):
    job = yaml.safe_dump(job_document(**change))
    applied = cluster.kubectl(
        "apply", "--validate=strict", "--namespace", namespace, "--filename=-", stdin=job
    )
    assert applied.returncode == 1
    assert f'strict decoding error: unknown field "{field}"' in applied.stderr


def test_smallest_job_is_stored_with_all_defaults_written_out(api: ApiClient, namespace):
    stored = api.post(jobs(namespace), job_document())
    assert stored["spec"] == {
        "model": {
            "format": "Darknet",
            "uri": "model.cfg",
            "allowCode": False,
            "precision": "Auto",
        },
        "input": {
            "kind": "Video",
            "uris": ["clip.mp4"],
            "video": {"chunkSeconds": 30, "everyNthFrame": 1},
        },
        "output": {"uri": "results", "mode": "Resume"},
        "device": "GPU",
        "executors": 1,
        "sharing": "Shared",
        "batching": {"deterministic": False},
        "spark": {
            "driver": {"cores": 1, "memory": "2Gi"},
            "executor": {"cores": 4, "memory": "4Gi"},
        },
        "failurePolicy": {"badInputs": "Quarantine", "maxBadPercent": 100, "backoffLimit": 3},
        "suspend": False,
    }


def test_status_is_a_subresource_that_the_author_of_a_job_does_not_write(api, namespace):
    stored = api.post(jobs(namespace), job_document(status={"phase": "Succeeded"}))
    assert "status" not in stored


EXPLAINED = [
    (
        "ij.spec",
        [
            "KIND:       InferenceJob",
            "executors\t<integer>",
            "Spark executors, each with one device and one copy of the model. Example: 2.",
            "input\t<Object> -required-",
        ],
    ),
    (
        "ij.spec.model",
        [
            "The network that is run, and the code around it.",
            "format\t<string> -required-",
            "enum: TorchExport, Python, Darknet",
            "parameters\t<map[string]Object>",
        ],
    ),
    (
        "ij.spec.failurePolicy.maxBadPercent",
        [
            "FIELD: maxBadPercent <integer>",
            "With Quarantine: the job fails when more of its frames than this are bad,",
            "a file that cannot be read at all counts as one frame. Example: 5.",
        ],
    ),
    ("ij.status.conditions", ["FIELD: conditions <[]Object>", "reason\t<string> -required-"]),
    (
        "gn.status.gpus",
        ["KIND:       GPUNode", "UUID of the device.", "enum: Healthy, Unhealthy, Lost"],
    ),
]


@pytest.mark.parametrize(("field", "expected"), EXPLAINED, ids=lambda value: str(value)[:40])
def test_explain_reads_well(cluster: ControlPlane, field, expected):
    told = cluster.kubectl("explain", field)
    assert told.returncode == 0, told.stderr
    # Lines are as long as kubectl likes; the words count.
    flat = " ".join(told.stdout.split())
    for words in expected:
        assert " ".join(words.split()) in flat
    assert "<no description>" not in told.stdout


def test_get_shows_how_far_a_job_is(cluster: ControlPlane, api: ApiClient, namespace):
    stored = api.post(jobs(namespace), job_document(metadata__name="cam-12"))
    status = {
        "phase": "Detecting",
        "attempt": 1,
        "progress": {
            "total": 900_000,
            "done": 412_000,
            "display": "412k/900k (45%)",
            "rate": "2130/s",
            "eta": "3m49s",
        },
        "gpus": {"reserved": 2, "ready": 1, "display": "1/2"},
    }
    api.put(f"{jobs(namespace)}/cam-12/status", stored | {"status": status})
    shown = cluster.kubectl("get", "ij", "--namespace", namespace).stdout.splitlines()
    assert shown[0].split() == ["NAME", "PHASE", "PROGRESS", "RATE", "ETA", "GPUS", "AGE"]
    assert shown[1].split()[:-1] == [
        *("cam-12", "Detecting", "412k/900k", "(45%)", "2130/s", "3m49s", "1/2"),
    ]


def test_get_shows_the_gpus_of_a_node(cluster: ControlPlane, api: ApiClient):
    made = {"apiVersion": "carpool.dev/v1alpha1", "kind": "GPUNode", "metadata": {"name": "gpu-7"}}
    gpu = {"uuid": "GPU-0", "product": "NVIDIA L4", "memory": "23034Mi", "health": "Healthy"}
    status = {
        "bootID": "a",
        "driverVersion": "570.124.06",
        "heartbeatTime": "2026-05-04T10:20:30Z",
        "gpuCount": 1,
        "healthyCount": 1,
        "gpus": [gpu],
        "assigned": {"executors": 2, "freeMemory": "11.2Gi"},
    }
    api.put(f"{GPU_NODES}/gpu-7/status", api.post(GPU_NODES, made) | {"status": status})
    header, row = cluster.kubectl("get", "gn", "gpu-7", "--output=wide").stdout.splitlines()
    assert header.split() == [
        *("NAME", "PRODUCT", "GPUS", "HEALTHY", "EXECUTORS", "FREE", "MEMORY"),
        *("HEARTBEAT", "AGE", "MEMORY", "DRIVER"),
    ]
    assert row.split()[:7] == ["gpu-7", "NVIDIA", "L4", "1", "1", "2", "11.2Gi"]
    assert row.split()[-2:] == ["23034Mi", "570.124.06"]


def test_category_names_all_resources(cluster: ControlPlane):
    listed = cluster.kubectl("api-resources", "--categories=carpool", "--output=name")
    assert sorted(listed.stdout.split()) == ["gpunodes.carpool.dev", "inferencejobs.carpool.dev"]


def test_wait_for_finished_works(cluster: ControlPlane, api: ApiClient, namespace):
    stored = api.post(jobs(namespace), job_document())
    finished = {
        "type": "Finished",
        "status": "True",
        "reason": "Succeeded",
        "message": "",
        "lastTransitionTime": "2026-05-04T10:20:30Z",
    }
    path = f"{jobs(namespace)}/smallest/status"
    api.put(path, stored | {"status": {"conditions": [finished]}})
    waited = cluster.kubectl(
        "wait", "--namespace", namespace, "--for=condition=Finished", "--timeout=10s", "ij/smallest"
    )
    assert waited.returncode == 0, waited.stderr


def test_status_is_written_by_server_side_apply(api: ApiClient, namespace):
    api.post(jobs(namespace), job_document())
    path = f"{jobs(namespace)}/smallest/status"
    head = {"apiVersion": "carpool.dev/v1alpha1", "kind": "InferenceJob"}
    ready = {
        "type": "ModelReady",
        "status": "False",
        "reason": "Loading",
        "message": "",
        "lastTransitionTime": "2026-05-04T10:20:30Z",
    }
    api.apply(path, {**head, "status": {"conditions": [{**ready, "type": "Accepted"}]}}, "a")
    stored = api.apply(path, {**head, "status": {"conditions": [ready]}}, "b")
    # Two writers, a condition each: they are merged by type.
    types = {condition["type"] for condition in stored["status"]["conditions"]}
    assert types == {"Accepted", "ModelReady"}


def test_definition_with_a_wrong_expression_would_not_be_accepted(api: ApiClient):
    broken = definition("gpunodes") | {"metadata": {"name": "gpunodes.carpool.dev"}}
    text = yaml.safe_dump(broken).replace("size(self.gpus)", "size(self.gpu)")
    wrong = yaml.safe_load(text.replace("gpunodes", "others").replace("GPUNode", "Other"))
    with pytest.raises(ApiError, match="undefined field 'gpu'"):
        api.post(DEFINITIONS, wrong, dryRun="All")
