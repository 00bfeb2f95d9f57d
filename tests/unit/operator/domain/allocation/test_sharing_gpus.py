"""Who may be on a GPU beside whom, and how many."""

from __future__ import annotations

import pytest

from carpool_operator.domain.cluster_state import Resources
from support.clusters import GIB, NOW, cluster, executor, gpus, job, node, on, run


def places(made, demand):
    """Where executors of the job go, as many as asked for."""
    made.job_seen(demand)
    for number in range(demand.executors):
        made.pod_seen(executor(demand, 1000 + number))
    return [assignment.slot for assignment in made.assign(NOW)]


def test_by_default_an_executor_has_a_gpu_for_itself():
    made = cluster(2)
    run(made, job("first"), on("n0", 0))
    assert places(made, job("second", 4)) == [on("n0", 1)]


@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        (("Any", "a"), ("Any", "b"), True),
        (("Any", "a"), ("Namespace", "a"), True),
        (("Any", "a"), ("Namespace", "b"), False),
        (("Namespace", "a"), ("Any", "b"), False),
        (("Namespace", "a"), ("Namespace", "a"), True),
        (("Job", "a"), ("Any", "a"), False),
        (("Any", "a"), ("Job", "a"), False),
    ],
)
def test_both_sides_must_accept_the_other(first, second, shares):
    made = cluster(1)
    terms = [
        {"executors_per_gpu": 4, "shared_with": scope, "namespace": namespace}
        for scope, namespace in (first, second)
    ]
    run(made, job("first", **terms[0]), on("n0", 0))
    found = places(made, job("second", **terms[1]))
    assert found == ([on("n0", 0)] if shares else [])


def test_a_job_may_share_with_itself_whatever_it_says():
    made = cluster(1)
    assert len(places(made, job("first", 3, executors_per_gpu=2, shared_with="Job"))) == 2


def test_the_smallest_limit_of_the_jobs_on_a_gpu_counts():
    made = cluster(1)
    run(made, job("four", executors_per_gpu=4, shared_with="Any"), on("n0", 0))
    assert len(places(made, job("two", 4, executors_per_gpu=2, shared_with="Any"))) == 1
    again = cluster(1)
    run(again, job("two", executors_per_gpu=2, shared_with="Any"), on("n0", 0))
    assert len(places(again, job("four", 4, executors_per_gpu=4, shared_with="Any"))) == 1


def test_a_job_does_not_join_more_executors_than_it_accepts_beside_its_own():
    made = cluster(1)
    small = {"shared_with": "Any", "gpu_memory": GIB}
    run(made, job("four", 2, executors_per_gpu=4, **small), on("n0", 0), on("n0", 0))
    assert places(made, job("two", executors_per_gpu=2, **small)) == []
    assert places(made, job("three", executors_per_gpu=3, **small)) == [on("n0", 0)]


def test_a_known_job_beside_one_that_has_ended_opens_the_gpu_for_nobody():
    made = cluster(1)
    terms = {"executors_per_gpu": 4, "shared_with": "Any"}
    run(made, job("first", **terms), on("n0", 0))
    run(made, job("second", **terms), on("n0", 0), first=10)
    made.job_gone("uid-first")
    assert places(made, job("third", **terms)) == []


def test_budgets_of_memory_must_fit_together():
    made = cluster(1)  # of 24 GiB
    first = job("first", executors_per_gpu=8, shared_with="Any", gpu_memory=10 * GIB)
    run(made, first, on("n0", 0))
    found = places(
        made, job("second", 4, executors_per_gpu=8, shared_with="Any", gpu_memory=7 * GIB)
    )
    assert len(found) == 2


def test_a_gpu_with_less_memory_than_an_executor_needs_is_not_taken():
    made = cluster(1)
    made.node_seen(node("n1"))
    made.gpus_seen(gpus("n1", 1, memory=80 * GIB))
    assert places(made, job("large", 2, gpu_memory=40 * GIB)) == [on("n1", 0)]


def test_a_gpu_with_executors_of_a_job_that_has_ended_takes_nobody():
    """What they accepted is no longer known; they are on their way."""
    made = cluster(1)
    first = job("first", executors_per_gpu=4, shared_with="Any")
    (pod,) = run(made, first, on("n0", 0))
    made.job_gone(first.uid)
    second = job("second", executors_per_gpu=4, shared_with="Any")
    assert places(made, second) == []
    made.pod_gone(pod.uid)
    assert len(made.assign(NOW)) == 1


@pytest.mark.parametrize("health", ["Unhealthy", "Lost"])
def test_a_gpu_that_is_not_healthy_is_left_alone_until_it_is_again(health):
    made = cluster(1)
    made.gpus_seen(gpus("n0", 1, g0=health))
    assert places(made, job("first")) == []
    made.gpus_seen(gpus("n0", 1))
    assert len(made.assign(NOW)) == 1


def test_what_an_agent_said_too_long_ago_is_not_relied_upon():
    made = cluster(1)
    demand = job("first")
    made.job_seen(demand)
    made.pod_seen(executor(demand, 1))
    assert made.assign(NOW + 91) == []
    made.gpus_seen(gpus("n0", 1, heartbeat=NOW + 90))
    assert len(made.assign(NOW + 91)) == 1


def test_a_gpu_is_in_use_until_the_containers_of_its_pod_have_ended():
    made = cluster(1)
    first, second = job("first"), job("second")
    (pod,) = run(made, first, on("n0", 0))
    made.job_seen(second)
    made.pod_seen(executor(second, 1))
    for state in ({"deleting": True}, {"deleting": True, "phase": "Failed"}):
        made.pod_seen(executor(first, 0, node=pod.node, gpu=pod.gpu, gated=False, **state))
        assert made.assign(NOW) == []
    made.pod_seen(executor(first, 0, node=pod.node, gpu=pod.gpu, gated=False, ended=True))
    assert len(made.assign(NOW)) == 1


def test_the_node_of_a_gpu_must_have_room_for_the_whole_pod():
    made = cluster(2, 2)
    made.node_seen(node("n0", cpu=4000))
    demand = job("first", 4, executor_requests=Resources(cpu=3000, pods=1))
    assert sorted(slot.node for slot in places(made, demand)) == ["n0", "n1", "n1"]


def test_a_node_whose_gpus_the_kubelet_hands_out_gives_none_by_uuid():
    made = cluster(2)
    made.node_seen(
        node("n0", allocatable=Resources(64_000, 1 << 40, 110, (("nvidia.com/gpu", 2),)))
    )
    assert places(made, job("first")) == []


def test_whole_gpus_of_the_kubelet_are_counted_by_node():
    """Such a pod asks for the GPU as for other resources, and is only sent to a node."""
    made = cluster()
    for name in ("n0", "n1"):
        room = Resources(64_000, 1 << 40, 110, (("nvidia.com/gpu", 2),))
        made.node_seen(node(name, allocatable=room))
    made.node_seen(node("n2"))
    demand = job("first", 5, executor_requests=Resources(1000, 0, 1, (("nvidia.com/gpu", 1),)))
    found = places(made, demand)
    assert [slot.gpu for slot in found] == [None] * 4
    assert sorted(slot.node for slot in found) == ["n0", "n0", "n1", "n1"]


def test_a_job_has_at_most_as_many_executors_as_it_asks_for():
    made = cluster(4)
    demand = job("first", 2)
    made.job_seen(demand)
    for number in range(4):
        made.pod_seen(executor(demand, number))
    assert len(made.assign(NOW)) == 2


def test_executors_of_a_job_that_is_not_known_wait():
    made = cluster(4)
    demand = job("first")
    made.pod_seen(executor(demand, 1))
    assert made.assign(NOW) == []
    made.job_seen(demand)
    assert len(made.assign(NOW)) == 1
