"""The write of an assignment on a real API server: what it accepts, refuses, and gives back."""

from __future__ import annotations

from typing import Any

import pytest

from carpool_operator.domain.allocation.commit import assignment_patch
from carpool_operator.domain.allocation.interface import Assignment
from carpool_operator.domain.cluster_state import Slot
from carpool_operator.domain.observed.pods import observed_pod
from support.control_plane.client import ApiError
from support.kubernetes_objects import EXECUTOR_LABELS

PATCH = "application/json-patch+json"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EXISTS = {"key": "pool", "operator": "Exists"}
NOT_OTHER = {"key": "metadata.name", "operator": "NotIn", "values": ["other"]}
AFFINITIES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "between-pods": {"podAntiAffinity": {}},
    "empty": {"nodeAffinity": {}},
    "preferred": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [EXISTS]}}
            ]
        }
    },
    "terms": {
        "nodeAffinity": {
            REQUIRED: {
                "nodeSelectorTerms": [
                    {"matchExpressions": [EXISTS]},
                    {"matchFields": [NOT_OTHER]},
                    {},
                ]
            }
        }
    },
}


@pytest.fixture
def gated(api, namespace):
    """Makes a pod at the gate."""
    # Namespaces get their account `default` a moment after they are made.
    api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "own"}})

    container = {"name": "spark", "image": "none"}
    driver = {
        "metadata": {"name": "driver"},
        "spec": {"containers": [container], "serviceAccountName": "own"},
    }
    made = api.post(f"/api/v1/namespaces/{namespace}/pods", driver)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "driver", "controller": True}
    owner["uid"] = made["metadata"]["uid"]

    def make(name="executor", *, affinity=None, annotations=None, gates=("carpool.dev/gpu",)):
        uuid = {"fieldRef": {"fieldPath": "metadata.annotations['carpool.dev/gpu-uuid']"}}
        container = {
            "name": "host",
            "image": "image",
            "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": uuid}],
        }
        pod = {
            "metadata": {
                "name": name,
                "labels": EXECUTOR_LABELS,
                "annotations": annotations,
                "ownerReferences": [owner],
            },
            "spec": {
                "containers": [container],
                "schedulingGates": [{"name": gate} for gate in gates],
                "affinity": affinity,
                "serviceAccountName": "own",
            },
        }
        return api.post(f"/api/v1/namespaces/{namespace}/pods", pod)

    return make


def commit(api, raw, *, node="gpu-1", gpu="GPU-1", epoch=3, now=1767225600.25):
    assignment = Assignment(observed_pod(raw), Slot(node, gpu))
    metadata = raw["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    return api.call("PATCH", path, assignment_patch(assignment, epoch, now), PATCH)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("annotations", [None, {"carpool.dev/host": "{}"}])
def test_any_pod_at_the_gate_takes_its_assignment_and_says_it_back(
    api, gated, affinity, annotations
):
    raw = gated(affinity=AFFINITIES[affinity], annotations=annotations)
    before = observed_pod(raw)
    assert (before.gated, before.node, before.gpu) == (True, None, None)
    found = observed_pod(commit(api, raw))
    assert (found.gated, found.node, found.gpu) == (False, "gpu-1", "GPU-1")
    assert found.assigned == 1767225600.25


def test_a_term_that_matches_no_node_still_matches_none(api, gated):
    raw = commit(api, gated(affinity=AFFINITIES["terms"]))
    terms = raw["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    pin = {"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}
    assert terms == [
        {"matchExpressions": [EXISTS], "matchFields": [pin]},
        {"matchFields": [NOT_OTHER, pin]},
        {},
    ]


def test_of_two_writers_the_second_changes_nothing(api, gated):
    raw = gated()
    first = commit(api, raw)
    with pytest.raises(ApiError) as refused:
        commit(api, raw, node="gpu-2", gpu="GPU-2", epoch=4)
    assert refused.value.code == 422
    path = f"/api/v1/namespaces/{raw['metadata']['namespace']}/pods/{raw['metadata']['name']}"
    assert api.get(path)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_pod_of_the_same_name_is_not_taken_for_the_one_that_was_decided_about(api, gated):
    raw = gated()
    path = f"/api/v1/namespaces/{raw['metadata']['namespace']}/pods/{raw['metadata']['name']}"
    api.delete(path)
    gated()
    with pytest.raises(ApiError) as refused:
        commit(api, raw)
    assert refused.value.code == 422
    assert observed_pod(api.get(path)).gated


def test_an_executor_on_cpus_gets_a_node_alone(api, gated):
    found = observed_pod(commit(api, gated(), gpu=None))
    assert (found.gated, found.node, found.gpu) == (False, "gpu-1", None)


def test_a_pod_that_another_gate_holds_is_seen_to_be(gated):
    found = observed_pod(gated(gates=("carpool.dev/gpu", "kueue.x-k8s.io/admission")))
    assert found.held_by_others
