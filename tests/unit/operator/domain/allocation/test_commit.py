"""The patch that opens the gate."""

from __future__ import annotations

import pytest

from carpool_operator.domain.allocation.commit import assignment_patch
from carpool_operator.domain.allocation.interface import Assignment
from carpool_operator.domain.cluster_state import Slot
from carpool_operator.domain.observed.pods import observed_pod
from support.kubernetes_objects import EXECUTOR_LABELS, pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PIN = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
PATH = f"/spec/affinity/nodeAffinity/{REQUIRED}"


def patch(affinity=None, annotations=None, gpu="GPU-1"):
    spec = {"affinity": affinity} if affinity else {}
    raw = pod(
        labels=EXECUTOR_LABELS,
        annotations=annotations,
        schedulingGates=[{"name": "carpool.dev/gpu"}],
        **spec,
    )
    assignment = Assignment(observed_pod(raw), Slot("node-1", gpu))
    return assignment_patch(assignment, epoch=7, now=1767225600.0)


def operations(found, kind):
    return {each["path"]: each.get("value") for each in found if each["op"] == kind}


def test_the_pod_and_its_gate_are_tested_first_and_the_gate_is_removed_last():
    found = patch()
    assert found[:2] == [
        {"op": "test", "path": "/metadata/uid", "value": "pod-uid"},
        {"op": "test", "path": "/spec/schedulingGates/0/name", "value": "carpool.dev/gpu"},
    ]
    assert found[-1] == {"op": "remove", "path": "/spec/schedulingGates/0"}


def test_gpu_epoch_and_time_are_annotated_beside_what_is_there():
    added = operations(patch(annotations={"a": "b"}), "add")
    assert added["/metadata/annotations/carpool.dev~1gpu-uuid"] == "GPU-1"
    assert added["/metadata/annotations/carpool.dev~1assignment-epoch"] == "7"
    assert added["/metadata/annotations/carpool.dev~1assigned-at"] == "2026-01-01T00:00:00.000000Z"
    assert "/metadata/annotations" not in added


def test_a_pod_without_annotations_gets_them():
    added = operations(patch(gpu=None), "add")
    assert set(added["/metadata/annotations"]) == {
        "carpool.dev/assignment-epoch",
        "carpool.dev/assigned-at",
    }


@pytest.mark.parametrize(
    ("affinity", "path", "value"),
    [
        (
            None,
            "/spec/affinity",
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [PIN]}]}}},
        ),
        (
            {"podAntiAffinity": {"a": 1}},
            "/spec/affinity/nodeAffinity",
            {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [PIN]}]}},
        ),
        (
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}},
            PATH,
            {"nodeSelectorTerms": [{"matchFields": [PIN]}]},
        ),
    ],
)
def test_the_node_is_demanded_beside_an_affinity_that_demands_no_node(affinity, path, value):
    assert operations(patch(affinity), "add")[path] == value


def test_every_term_is_tightened_since_terms_are_alternatives():
    expression = {"key": "pool", "operator": "Exists"}
    field = {"key": "metadata.name", "operator": "NotIn", "values": ["node-2"]}
    terms = [{"matchExpressions": [expression]}, {"matchFields": [field]}, {}]
    added = operations(patch({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}), "add")
    assert added[f"{PATH}/nodeSelectorTerms/0/matchFields"] == [PIN]
    assert added[f"{PATH}/nodeSelectorTerms/1/matchFields/-"] == PIN
    assert not any(path.startswith(f"{PATH}/nodeSelectorTerms/2") for path in added)
