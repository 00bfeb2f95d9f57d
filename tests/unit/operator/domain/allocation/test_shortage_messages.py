"""What a job that waits is told: what is missing, in figures, and where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.cluster_state import Resources, Scheduling, Slot
from support.clusters import (
    GIB,
    NOW,
    WHOLE,
    cluster,
    executor,
    gpus,
    job,
    kubelet_node,
    node,
    on,
    other,
    run,
)


def told(made, demand, now=NOW):
    made.job_seen(demand)
    found = made.reserve(demand.uid, now)
    return found.reason, found.message


def test_gpus_that_are_in_use_or_not_healthy():
    made = cluster(4, 4)
    made.gpus_seen(gpus("n1", 4, g3="Lost"))
    run(made, job("job", 5), *(on("n0", each) for each in range(4)), on("n1", 0))
    assert told(made, job("large", 4)) == (
        "InsufficientGPUs",
        (
            "needs 4 GPU slots at once, 2 are free: 8 GPUs on 2 nodes, 5 in use by traffic/job, "
            "1 unhealthy (n1: Lost)"
        ),
    )


def test_the_jobs_that_have_most_are_named_and_the_rest_counted():
    made = cluster(8)
    first = 0
    for name, count in (("a", 1), ("b", 3), ("c", 2), ("d", 1), ("e", 1)):
        run(made, job(name, count), *(on("n0", first + each) for each in range(count)))
        first += count
    _, message = told(made, job("large", 1))
    assert "8 in use by traffic/b (3), traffic/c (2), traffic/a (1) and 2 more" in message
    assert message.startswith("needs a GPU slot, 0 are free: 8 GPUs on 1 node")


def test_no_gpu_at_all():
    made = ClusterAllocator()
    made.node_seen(node("n0"))
    assert told(made, job("first")) == (
        "NoGPUs",
        "needs a GPU slot: no node has reported a GPU",
    )


ASK_KUBELET = (
    "; set spec.gpu.ownership: Exclusive to ask the kubelet for GPUs, or keep NVIDIA's device "
    "plugin off the nodes of the pool"
)


def whole_gpus(name, executors, **changes):
    return job(name, executors, executor_requests=WHOLE, **changes)


def test_gpus_that_are_all_the_kubelets():
    made = cluster(4, 4)
    for name in ("n0", "n1"):
        made.node_seen(kubelet_node(name, 4))
    assert told(made, job("first")) == (
        "NoEligibleNode",
        (
            "needs a GPU slot, 0 are free: 8 GPUs on 2 nodes, "
            "2 nodes have GPUs that the kubelet hands out (n0, n1)" + ASK_KUBELET
        ),
    )
    made.node_seen(node("n1", unschedulable=True))
    assert ASK_KUBELET not in told(made, job("first"))[1]


def test_gpus_of_the_kubelet_where_no_agent_reports_any():
    made = ClusterAllocator()
    for name in ("n0", "n1"):
        made.node_seen(kubelet_node(name, 4))
    assert told(made, job("first", 2)) == (
        "NoGPUs",
        (
            "needs 2 GPU slots at once: no node has reported a GPU, and the kubelet hands out "
            "those of 2 nodes (n0, n1)" + ASK_KUBELET
        ),
    )


def test_whole_gpus_where_no_kubelet_hands_out_any():
    made = cluster(4)
    made.node_seen(node("n1"))
    assert told(made, whole_gpus("first", 2)) == (
        "NoGPUs",
        (
            "needs 2 whole GPUs at once: no node offers nvidia.com/gpu; run NVIDIA's device plugin "
            "on nodes for such jobs, or set spec.gpu.ownership: Pool"
        ),
    )


def test_whole_gpus_that_are_in_use():
    made = cluster(4)
    for name in ("n1", "n2"):
        made.node_seen(kubelet_node(name, 4))
    run(made, whole_gpus("a", 3), Slot("n1"), Slot("n1"), Slot("n1"))
    run(made, job("b", device="CPU"), Slot("n2"))
    made.pod_seen(other("notebook", "n1", Resources(extended=(("nvidia.com/gpu", 1),))))
    assert told(made, whole_gpus("first", 5)) == (
        "InsufficientGPUs",
        (
            "needs 5 whole GPUs at once, 4 are free: 8 GPUs of the kubelet on 2 nodes, "
            "4 in use by traffic/a (3), other pods (1)"
        ),
    )


def test_whole_gpus_on_nodes_without_room():
    made = ClusterAllocator()
    made.node_seen(replace(kubelet_node("n0", 4), unschedulable=True))
    made.node_seen(kubelet_node("n1", 4))
    made.pod_seen(other("large", "n1", Resources(cpu=63_000)))
    assert told(made, whole_gpus("first", 2)) == (
        "InsufficientCPU",
        (
            "needs 2 whole GPUs at once, 1 is free: 8 GPUs of the kubelet on 2 nodes, "
            "3 idle for lack of CPU on their nodes, 1 node is cordoned (n0)"
        ),
    )


def test_nodes_that_are_not_for_the_job():
    made = cluster(1, 1, 1)
    made.node_seen(node("n0", ready=False))
    made.node_seen(node("n1", unschedulable=True))
    made.node_seen(node("n2", unschedulable=True))
    assert told(made, job("first")) == (
        "NoEligibleNode",
        (
            "needs a GPU slot, 0 are free: 3 GPUs on 3 nodes, 2 nodes are cordoned (n1, n2), "
            "1 node is not ready (n0)"
        ),
    )


def test_a_label_that_no_node_has():
    made = cluster(1)
    demand = job("first", executor_scheduling=Scheduling({"gpu": "h100"}))
    assert told(made, demand)[1].endswith("1 node has not the label gpu=h100 (n0)")


def test_free_gpus_on_nodes_without_room():
    made = cluster(2)
    made.node_seen(node("n0", cpu=4000))
    demand = job("first", 2, executor_requests=Resources(cpu=3000, pods=1))
    assert told(made, demand) == (
        "InsufficientCPU",
        (
            "needs 2 GPU slots at once, 1 is free: 2 GPUs on 1 node, "
            "1 idle for lack of CPU on their nodes"
        ),
    )
    run(made, job("other", executor_requests=Resources(cpu=3000, pods=1)), on("n0", 0))
    assert told(made, demand) == (
        "InsufficientCPU",
        (
            "needs 2 GPU slots at once, 0 are free: 2 GPUs on 1 node, 1 in use by traffic/other, "
            "1 idle for lack of CPU on their nodes, 1 node has too little CPU left (n0)"
        ),
    )


def test_gpus_with_too_little_memory():
    made = cluster(2)
    assert told(made, job("first", gpu_memory=40 * GIB)) == (
        "InsufficientGPUs",
        "needs a GPU slot, 0 are free: 2 GPUs on 1 node, 2 with less memory than an executor needs",
    )


def test_an_agent_that_is_silent():
    assert told(cluster(2), job("first"), NOW + 100) == (
        "NoEligibleNode",
        (
            "needs a GPU slot, 0 are free: 2 GPUs on 1 node, "
            "1 node has an agent that has been silent for over 90 s (n0)"
        ),
    )


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        (Resources(cpu=40_000, pods=1), "InsufficientCPU"),
        (Resources(memory=200 * GIB, pods=1), "InsufficientMemory"),
        (Resources(1000, GIB, 1, (("x/fpga", 1),)), "InsufficientResources"),
    ],
)
def test_executors_on_cpus(requests, reason):
    made = ClusterAllocator()
    made.node_seen(node("n0"))
    made.node_seen(node("n1"))
    found, message = told(made, job("first", 3, device="CPU", executor_requests=requests))
    assert found == reason
    assert message.startswith("needs 3 places at once, ")


def test_a_running_job_hears_what_its_executors_at_the_gate_lack():
    made = cluster(2)
    demand = job("first", 4, required=2)
    run(made, demand, on("n0", 0), on("n0", 1))
    assert made.why_waiting(demand.uid, NOW) is None
    made.pod_seen(executor(demand, 8))
    made.pod_seen(executor(demand, 9))
    found = made.why_waiting(demand.uid, NOW)
    assert (found.reason, found.message) == (
        "InsufficientGPUs",
        (
            "2 executors at the gate need GPU slots, 0 are free: 2 GPUs on 1 node, "
            "2 in use by traffic/first"
        ),
    )


def test_more_executors_than_a_job_may_have_are_told_so():
    made = cluster(2)
    demand = job("first", 1)
    run(made, demand, on("n0", 0))
    made.pod_seen(executor(demand, 9))
    found = made.why_waiting(demand.uid, NOW)
    assert (found.reason, found.message) == (
        "EnoughExecutors",
        "1 executor at the gate; 1 have their slots",
    )


def test_executors_for_which_there_is_room_are_told_that_their_turn_comes():
    made = cluster(2)
    demand = job("first", 2)
    run(made, demand, on("n0", 0))
    made.pod_seen(executor(demand, 9))
    found = made.why_waiting(demand.uid, NOW)
    assert (found.reason, found.message) == (
        "BeingAssigned",
        "1 executor at the gate; there is room for more, and the next turn comes",
    )


def test_a_large_cluster_is_counted_once_in_five_seconds():
    made = ClusterAllocator()
    for number in range(300):
        made.node_seen(node(f"n{number}"))
    demand = job("first", 1, device="CPU", executor_requests=Resources(cpu=1_000_000))
    made.job_seen(demand)
    first = made.reserve(demand.uid, NOW).message
    assert "300 nodes" in first
    made.node_gone("n7")
    assert made.reserve(demand.uid, NOW + 4).message == first
    assert "299 nodes" in made.reserve(demand.uid, NOW + 5).message
