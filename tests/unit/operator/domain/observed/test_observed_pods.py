"""What of a pod's JSON the operator keeps."""

from __future__ import annotations

import json
import sys
from dataclasses import fields

import pytest

from carpool_operator.domain.cluster_state import Pod, Scheduling, Slot
from carpool_operator.domain.observed.pods import observed_pod
from support.kubernetes_objects import EXECUTOR_LABELS, container, pod

GATES = [{"name": "carpool.dev/gpu"}]
RUNNING = {"state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}}}
TERMINATED = {"state": {"terminated": {"exitCode": 0}}}


def pinned(*terms):
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}
        }
    }


def by_name(*names):
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(names)}]}


def unschedulable(since, reason="Unschedulable"):
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "lastTransitionTime": since,
    }
    return {"phase": "Pending", "conditions": [condition]}


def test_a_pod_that_is_not_ours_keeps_what_it_takes_and_where():
    found = observed_pod(
        pod(container(cpu="1"), nodeName="node-1", nodeSelector={"disk": "ssd"}, labels={"a": "b"})
    )
    assert (found.node, found.requests.cpu, found.job_uid, found.role) == (
        "node-1",
        1000,
        None,
        None,
    )
    assert found.scheduling == Scheduling()
    assert found.created == 1767225600.0


def test_an_executor_at_the_gate_keeps_where_it_may_run():
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    found = observed_pod(
        pod(
            labels=EXECUTOR_LABELS,
            schedulingGates=GATES,
            nodeSelector={"pool": "a"},
            tolerations=tolerations,
        )
    )
    assert (found.gated, found.held_by_others, found.node) == (True, False, None)
    assert (found.job_uid, found.role) == ("job-uid", "executor")
    assert found.scheduling == Scheduling({"pool": "a"}, {}, tuple(tolerations))


def test_another_gate_is_seen():
    gates = [*GATES, {"name": "kueue.x-k8s.io/admission"}]
    assert observed_pod(pod(labels=EXECUTOR_LABELS, schedulingGates=gates)).held_by_others


def test_an_assignment_is_read_back_before_the_scheduler_has_bound_the_pod():
    found = observed_pod(
        pod(
            labels=EXECUTOR_LABELS,
            annotations={
                "carpool.dev/gpu-uuid": "GPU-1",
                "carpool.dev/assigned-at": "2026-01-01T01:00:00Z",
            },
            affinity=pinned(by_name("node-1")),
        )
    )
    assert (found.node, found.gpu, found.assigned) == ("node-1", "GPU-1", 1767229200.0)


@pytest.mark.parametrize(
    "affinity",
    [
        pinned(by_name("node-1"), by_name("node-2")),
        pinned(by_name("node-1"), {"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
        {"podAntiAffinity": {}},
    ],
)
def test_a_pod_that_may_run_elsewhere_is_not_taken_for_pinned(affinity):
    assert observed_pod(pod(affinity=affinity)).node is None


def test_an_annotation_on_a_pod_at_the_gate_is_no_assignment():
    found = observed_pod(
        pod(
            labels=EXECUTOR_LABELS,
            annotations={"carpool.dev/gpu-uuid": "GPU-1"},
            schedulingGates=GATES,
        )
    )
    assert found.gpu is None


def test_a_pod_counts_as_unschedulable_from_its_assignment_on_not_from_its_creation():
    """The condition turned False when the pod came to the gate, and has not turned since."""
    found = observed_pod(
        pod(
            labels=EXECUTOR_LABELS,
            annotations={"carpool.dev/assigned-at": "2026-01-01T01:00:00Z"},
            status=unschedulable("2026-01-01T00:00:00Z"),
        )
    )
    assert found.unschedulable_since == 1767229200.0


def test_a_gated_pod_is_not_unschedulable():
    status = unschedulable("2026-01-01T00:00:00Z", "SchedulingGated")
    assert observed_pod(pod(schedulingGates=GATES, status=status)).unschedulable_since is None


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({"phase": "Running", "containerStatuses": [RUNNING]}, False),
        ({"phase": "Succeeded", "containerStatuses": [TERMINATED]}, True),
        ({"phase": "Failed"}, True),
        # The control plane gives up a pod on a node that it does not hear of.
        ({"phase": "Failed", "containerStatuses": [RUNNING]}, False),
    ],
)
def test_a_pod_has_ended_when_its_phase_and_its_containers_say_so(status, ended):
    assert observed_pod(pod(nodeName="node-1", status=status)).ended is ended


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({"phase": "Running", "containerStatuses": [RUNNING]}, False),
        ({"phase": "Running", "containerStatuses": [TERMINATED]}, True),
        ({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {}}}]}, False),
        ({"phase": "Pending"}, False),
    ],
)
def test_a_pod_being_deleted_has_ended_when_all_its_containers_have(status, ended):
    raw = pod(nodeName="node-1", status=status, deleted="2026-01-01T02:00:00Z")
    assert observed_pod(raw).ended is ended


def test_a_sidecar_that_runs_on_keeps_a_pod_from_having_ended():
    status = {
        "phase": "Running",
        "containerStatuses": [TERMINATED],
        "initContainerStatuses": [{"name": "model-host", **RUNNING}],
    }
    raw = pod(
        nodeName="node-1",
        initContainers=[container("model-host")],
        status=status,
        deleted="2026-01-01T02:00:00Z",
    )
    assert not observed_pod(raw).ended


def test_a_pod_that_is_deleted_before_it_was_bound_never_starts():
    assert observed_pod(pod(schedulingGates=GATES, deleted="2026-01-01T02:00:00Z")).ended


def host_end(**terminated):
    host = {
        "name": "model-host",
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T03:00:00Z", **terminated}},
    }
    status = {"phase": "Running", "initContainerStatuses": [host]}
    return observed_pod(pod(labels=EXECUTOR_LABELS, nodeName="node-1", status=status))


def test_restarts_and_last_words_of_the_host_are_kept():
    said = {"reason": "DeviceLost", "message": "the GPU fell off the bus", "traceback": "long"}
    found = host_end(message=json.dumps(said))
    assert (found.host_restarts, found.host_ended) == (3, 1767236400.0)
    assert found.host_message == "DeviceLost: the GPU fell off the bus"


def test_a_host_that_was_killed_left_no_message():
    assert host_end(reason="OOMKilled", exitCode=137).host_message == "OOMKilled: exit code 137"


def test_a_driver_carries_its_reservation():
    text = '[{"node":"node-1","gpu":"GPU-1"},{"node":"node-2"}]'
    labels = EXECUTOR_LABELS | {"carpool.dev/role": "driver"}
    found = observed_pod(pod(labels=labels, annotations={"carpool.dev/reservation": text}))
    assert found.reserved == (Slot("node-1", "GPU-1"), Slot("node-2"))


@pytest.mark.parametrize("text", ["", "none", "{}", "[1]", '[{"gpu": "GPU-1"}]'])
def test_a_reservation_that_cannot_be_read_is_none(text):
    labels = EXECUTOR_LABELS | {"carpool.dev/role": "driver"}
    assert (
        observed_pod(pod(labels=labels, annotations={"carpool.dev/reservation": text})).reserved
        == ()
    )


def test_a_record_is_at_most_a_kilobyte():
    """Of what a pod alone has; what is shared with others is interned."""
    uuid = "GPU-5f9c0a4e-6d2b-4a53-9f0e-0f6b8c2d7a11"
    found = [
        observed_pod(
            pod(
                labels=EXECUTOR_LABELS,
                annotations={"carpool.dev/gpu-uuid": uuid, "carpool.dev/host": "{}" * 2000},
                nodeName="node-1",
                affinity=pinned(by_name("node-1")),
                status={"phase": "Running", "containerStatuses": [RUNNING]},
            )
        )
        for _ in range(2)
    ]
    own = [
        value
        for name in (field.name for field in fields(Pod))
        if (value := getattr(found[0], name)) is not getattr(found[1], name)
    ]
    assert sys.getsizeof(found[0]) + sum(map(sys.getsizeof, own)) < 1024


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_labels_alone_make_no_pod_ours(role):
    """Whoever may create pods may write them; an owner that does not exist is collected."""
    raw = pod(
        labels=EXECUTOR_LABELS | {"carpool.dev/role": role},
        annotations={"carpool.dev/reservation": '[{"node":"n","gpu":"GPU-1"}]'},
    )
    assert observed_pod(raw).job_uid == "job-uid"
    for owner in ([], [{"kind": "Job", "name": "x", "uid": "another", "controller": True}]):
        raw["metadata"]["ownerReferences"] = owner
        found = observed_pod(raw)
        assert (found.job_uid, found.role, found.reserved) == (None, None, ())
