"""Which executors are deleted so that their drivers ask for others, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool_operator.domain.cluster_state import Gpu, Slot
from support.clusters import (
    GIB,
    NOW,
    assigned,
    cluster,
    confirm,
    executor,
    gpus,
    job,
    node,
    on,
    run,
)
from support.plain_allocation import together_is_allowed


def evicted(made, now=NOW):
    """Pods and reasons."""
    return {each.pod.uid: each.reason for each in made.evictions(now)}


@pytest.mark.parametrize(("health", "reason"), [("Lost", "GPULost"), ("Unhealthy", "GPUUnhealthy")])
def test_executors_go_from_a_gpu_that_is_not_healthy_and_from_no_other(health, reason):
    made = cluster(2)
    demand = job("first", 4, executors_per_gpu=2)
    run(made, demand, on("n0", 0), on("n0", 0), on("n0", 1))
    assert evicted(made) == {}
    made.gpus_seen(gpus("n0", 2, g0=health))
    assert evicted(made) == {"first-0": reason, "first-1": reason}
    made.gpus_seen(gpus("n0", 2))
    assert evicted(made) == {}


def test_a_gpu_that_its_agent_no_longer_reports_is_lost():
    """As when another machine runs under the node's name."""
    made = cluster(2)
    run(made, job("first", 2), on("n0", 0), on("n0", 1))
    made.gpus_seen(gpus("n0", 1))
    assert evicted(made) == {"first-1": "GPULost"}


def test_a_gpu_of_another_node_is_none_of_this_one():
    made = cluster(1, 1)
    run(made, job("first"), Slot("n1", on("n0", 0).gpu))
    assert evicted(made) == {"first-0": "GPULost"}


def test_an_agent_that_is_not_there_proves_nothing():
    made = cluster(1)
    run(made, job("first"), on("n0", 0))
    made.gpus_gone("n0")
    assert evicted(made) == {}
    made.node_gone("n0")
    assert evicted(made) == {}


def test_an_executor_is_named_until_its_deletion_is_seen():
    made = cluster(1)
    (pod,) = run(made, job("first"), on("n0", 0))
    made.gpus_seen(gpus("n0", 1, g0="Lost"))
    assert evicted(made) == evicted(made) == {"first-0": "GPULost"}
    made.pod_seen(replace(pod, deleting=True))
    assert evicted(made) == {}


def test_the_replaced_executor_goes_to_another_gpu_and_back_when_it_is_healthy():
    made = cluster(2)
    demand = job("first", 1)
    (pod,) = run(made, demand, on("n0", 0))
    made.gpus_seen(gpus("n0", 2, g0="Lost"))
    made.pod_seen(replace(pod, deleting=True))
    made.pod_seen(executor(demand, 1))
    assert confirm(made, made.assign(NOW)) == [on("n0", 1)]
    made.pod_gone(pod.uid)
    made.gpus_seen(gpus("n0", 2))
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 1))
    assert confirm(made, made.assign(NOW)) == [on("n0", 0)]


def test_above_a_gpus_slots_the_newest_assignments_go():
    """Through two operators that each believed to be alone."""
    made = cluster(1)
    demand = job("first", 4, executors_per_gpu=2)
    pods = run(made, demand, *[on("n0", 0)] * 4)
    # The one that was created first was assigned last.
    made.pod_seen(replace(pods[0], assigned=NOW + 100))
    assert evicted(made) == {"first-0": "GPUOverfull", "first-3": "GPUOverfull"}


def test_executors_that_are_on_their_way_out_are_not_counted():
    made = cluster(1)
    pods = run(made, job("first", 3, executors_per_gpu=2), *[on("n0", 0)] * 3)
    made.pod_seen(replace(pods[0], deleting=True))
    assert evicted(made) == {}


def test_executors_of_jobs_that_are_not_known_are_not_judged():
    made = cluster(1)
    first = job("first", 2, executors_per_gpu=2)
    run(made, first, on("n0", 0), on("n0", 0))
    made.job_gone(first.uid)
    run(made, job("second"), on("n0", 0))
    assert evicted(made) == {}


@given(
    terms=st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from(["Job", "Namespace", "Any"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, 5 * GIB, 11 * GIB]),
        ),
        min_size=1,
        max_size=3,
    ),
    order=st.lists(st.integers(0, 2), min_size=1, max_size=6),
)
def test_the_oldest_that_may_be_together_stay(terms, order):
    gpu = Gpu("GPU-n0-g0", "L4", 24 * GIB, "Healthy")
    made = cluster(1)
    demands = [
        job(
            f"j{number}",
            9,
            executors_per_gpu=per_gpu,
            shared_with=scope,
            namespace=namespace,
            gpu_memory=memory,
        )
        for number, (per_gpu, scope, namespace, memory) in enumerate(terms)
    ]
    stay, go = [], set()
    for age, which in enumerate(order):
        demand = demands[which % len(demands)]
        made.job_seen(demand)
        pod = executor(
            demand, age, node="n0", gpu=gpu.uuid, gated=False, assigned=NOW + age, phase="Running"
        )
        made.pod_seen(pod)
        if together_is_allowed([*stay, demand], gpu):
            stay.append(demand)
        else:
            go.add(pod.uid)
    assert evicted(made).keys() == go


def pinned(made, demand, since, number=1):
    """An executor that was assigned, and that the scheduler finds no place for."""
    made.job_seen(demand)
    made.pod_seen(executor(demand, number))
    (assignment,) = made.assign(since)
    made.pod_seen(assigned(assignment, since, unschedulable_since=since))
    return assignment.slot.node


def test_an_executor_that_cannot_be_scheduled_for_a_minute_goes_and_its_node_is_avoided():
    made = cluster(1, 1)
    demand = job("first", 3)
    bad = pinned(made, demand, NOW)
    assert made.next_wakeup(NOW) == NOW + 60
    assert evicted(made, NOW + 59) == {}
    assert evicted(made, NOW + 60) == {"first-1": "Unschedulable"}
    made.pod_gone("first-1")
    made.pod_seen(executor(demand, 2))
    made.pod_seen(executor(demand, 3))
    found = made.assign(NOW + 60)
    assert [each.slot.node for each in found] == [{"n0": "n1", "n1": "n0"}[bad]]


def test_an_avoided_node_is_tried_again_after_a_while():
    made = cluster(1)
    demand = job("first", 3)
    pinned(made, demand, NOW)
    assert evicted(made, NOW + 60)
    made.pod_gone("first-1")
    made.pod_seen(executor(demand, 2))
    assert made.assign(NOW + 61) == []
    assert made.next_wakeup(NOW + 61) == NOW + 120
    made.gpus_seen(gpus("n0", 1, heartbeat=NOW + 100))
    assert made.assign(NOW + 119) == []
    assert len(made.assign(NOW + 120)) == 1


def test_an_executor_that_is_scheduled_in_time_stays():
    made = cluster(1)
    demand = job("first")
    pinned(made, demand, NOW)
    (pod,) = (executor(demand, 1, node="n0", gpu=on("n0", 0).gpu, gated=False, phase="Running"),)
    made.pod_seen(pod)
    assert evicted(made, NOW + 600) == {}
    assert made.next_wakeup(NOW) is None


LOST = "DeviceLost: the GPU fell off the bus"


def test_an_executor_whose_host_reports_a_fatal_device_error_goes():
    made = cluster(2)
    pods = run(made, job("first", 2), on("n0", 0), on("n0", 1))
    made.pod_seen(replace(pods[0], host_restarts=1, host_ended=NOW, host_message=LOST))
    made.pod_seen(
        replace(pods[1], host_restarts=1, host_ended=NOW, host_message="HostCrashed: signal 11")
    )
    (found,) = made.evictions(NOW)
    assert (found.pod.uid, found.reason) == ("first-0", "HostFailed")
    assert "the GPU fell off the bus" in found.message


def test_an_executor_whose_host_restarts_three_times_in_five_minutes_goes():
    made = cluster(1)
    (pod,) = run(made, job("first"), on("n0", 0))
    for restarts, at in ((1, 1000), (2, 1200), (3, 1400), (4, 1450)):
        assert evicted(made, NOW + at) == {}
        made.pod_seen(
            replace(pod, host_restarts=restarts, host_ended=NOW + at, host_message="Crash: again")
        )
    assert evicted(made, NOW + 1450) == {"first-0": "HostFailed"}


def test_restarts_that_were_not_seen_count_from_the_pods_creation():
    """After a restart of the operator; so those of a young pod are all recent."""
    made = cluster(2)
    pods = run(made, job("first", 2), on("n0", 0), on("n0", 1))
    young = {"host_restarts": 3, "host_ended": NOW + 200, "host_message": "Crash: again"}
    made.pod_seen(replace(pods[0], **young))
    made.pod_seen(replace(pods[1], **young, created=NOW - 3600))
    assert evicted(made, NOW + 200) == {"first-0": "HostFailed"}


def test_hosts_that_fail_wherever_they_are_put_fail_the_job_with_their_words():
    """As many executors go as the job has; the next failure is the job's."""
    made = cluster(4)
    demand = job("first", 2)
    pods = run(made, demand, *(on("n0", index) for index in range(4)))
    for number, pod in enumerate(pods[:3]):
        assert made.failure(demand.uid, NOW + number) is None
        made.pod_seen(replace(pod, host_restarts=1, host_message=LOST))
        made.evictions(NOW + number)
        if number < 2:
            made.pod_gone(pod.uid)
    assert evicted(made, NOW + 3) == {}
    found = made.failure(demand.uid, NOW + 3)
    assert found is not None
    assert found.reason == "HostFailed"
    assert "first-exec-2: DeviceLost: the GPU fell off the bus" in found.message
    # Ten minutes later it may lose as many again.
    assert made.failure(demand.uid, NOW + 700) is None
    assert evicted(made, NOW + 700) == {"first-2": "HostFailed"}


def test_a_model_that_one_host_cannot_load_fails_the_job_at_once_with_its_words():
    made = cluster(4)
    demand = job("first", 2)
    pods = run(made, demand, *(on("n0", index) for index in range(2)))
    assert made.failure(demand.uid, NOW) is None
    unloadable = "ModelFormatError: yolo.weights ends in layer 7"
    made.pod_seen(replace(pods[1], host_restarts=1, host_message=unloadable))
    found = made.failure(demand.uid, NOW)
    assert found is not None
    assert found.reason == "ModelFormatError"
    assert found.message == f"the model host of first-exec-1 ended: {unloadable}"


def test_an_executor_that_fails_twice_over_is_named_once():
    made = cluster(1)
    (pod,) = run(made, job("first"), on("n0", 0))
    made.pod_seen(replace(pod, host_message=LOST, host_restarts=1))
    made.gpus_seen(gpus("n0", 1, g0="Lost"))
    assert evicted(made) == {"first-0": "GPULost"}


def test_a_node_that_is_not_ready_keeps_its_pods_and_gets_no_more():
    made = cluster(2)
    demand = job("first", 2)
    run(made, demand, on("n0", 0))
    made.node_seen(node("n0", ready=False))
    made.pod_seen(executor(demand, 9))
    assert made.assign(NOW) == []
    assert evicted(made) == {}
