"""A GPU is the pool's, given by its UUID, or the kubelet's; never are both on one node."""

from __future__ import annotations

from collections import Counter

import pytest

from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.cluster_state import Resources, Slot
from support.clusters import (
    NOW,
    WHOLE,
    cluster,
    confirm,
    driver,
    executor,
    gpus,
    job,
    kubelet_node,
    node,
    on,
    other,
    run,
)


def exclusive(name, executors=1, **changes):
    return job(name, executors, executor_requests=WHOLE, **changes)


def places(made, demand, first=1000):
    """Where executors of the job go, as many as asked for."""
    made.job_seen(demand)
    for number in range(demand.executors):
        made.pod_seen(executor(demand, first + number))
    return confirm(made, made.assign(NOW))


def test_whole_gpus_are_taken_evenly_of_nodes_and_no_more_than_a_node_offers():
    made = cluster()
    for name in ("n0", "n1"):
        made.node_seen(kubelet_node(name, 4))
    assert Counter(places(made, exclusive("first", 5))) == {Slot("n0"): 3, Slot("n1"): 2}
    assert Counter(places(made, exclusive("second", 6))) == {Slot("n0"): 1, Slot("n1"): 2}


def test_pods_of_others_with_whole_gpus_count_as_much_as_executors():
    made = cluster()
    for name in ("n0", "n1"):
        made.node_seen(kubelet_node(name, 4))
    for number in range(2):
        made.pod_seen(other(f"other-{number}", "n0", WHOLE))
    assert Counter(places(made, exclusive("first", 4))) == {Slot("n0"): 1, Slot("n1"): 3}


def test_pack_fills_a_node_before_it_takes_the_next():
    made = cluster()
    for name in ("n0", "n1"):
        made.node_seen(kubelet_node(name, 4))
    made.pod_seen(other("other", "n1", WHOLE))
    packed = exclusive("first", 4, placement="Pack")
    assert Counter(places(made, packed)) == {Slot("n1"): 3, Slot("n0"): 1}


def test_jobs_of_both_kinds_stay_on_nodes_of_their_own():
    made = cluster(4)
    made.node_seen(kubelet_node("n1", 4))
    made.gpus_seen(gpus("n1", 4))
    assert {slot.node for slot in places(made, job("pool", 6))} == {"n0"}
    assert Counter(places(made, exclusive("whole", 6))) == {Slot("n1"): 4}


@pytest.mark.parametrize(
    "resource", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb"]
)
def test_where_a_kubelet_begins_to_hand_out_gpus_nobody_new_gets_one_by_uuid(resource):
    made = cluster(2, 2)
    demand = job("first", 4)
    run(made, demand, on("n0", 0))
    made.node_seen(kubelet_node("n0", 2, resource=resource))
    assert sorted(places(made, demand), key=str) == [on("n1", 0), on("n1", 1)]
    assert made.evictions(NOW) == []


def test_a_slot_held_there_by_uuid_is_left_for_another():
    made = cluster(1, 1)
    demand = job("first")
    made.job_seen(demand)
    made.pod_seen(driver(demand, on("n0", 0)))
    made.node_seen(kubelet_node("n0", 1))
    assert places(made, demand) == [on("n1", 0)]


def test_there_no_whole_gpu_is_asked_for_before_the_executors_by_uuid_have_ended():
    """The kubelet does not know which GPUs those have, and would give one of them."""
    made = cluster(2)
    (pod,) = run(made, job("first"), on("n0", 0))
    made.node_seen(kubelet_node("n0", 2))
    whole = exclusive("whole")
    assert places(made, whole) == []
    lacking = made.reserve(whole.uid, NOW)
    assert isinstance(lacking, Lacking)
    assert lacking.message == (
        "needs a whole GPU, 0 are free: 2 GPUs of the kubelet on 1 node, "
        "1 node has executors on GPUs of the pool, which must end first (n0)"
    )
    made.pod_gone(pod.uid)
    assert [each.slot for each in made.assign(NOW)] == [Slot("n0")]


def test_nor_is_a_slot_used_that_was_held_there_for_a_whole_gpu():
    made = cluster(1)
    made.node_seen(kubelet_node("n0", 1))
    made.node_seen(kubelet_node("n1", 1))
    run(made, job("first"), on("n0", 0))
    whole = exclusive("whole")
    made.job_seen(whole)
    made.pod_seen(driver(whole, Slot("n0")))
    assert places(made, whole) == [Slot("n1")]


def test_while_the_device_plugin_is_away_the_node_stays_the_kubelets():
    made = cluster(2)
    made.node_seen(kubelet_node("n0", 0, capacity=2))
    assert places(made, job("first", 2)) == []
    assert places(made, exclusive("whole", 2)) == []


@pytest.mark.parametrize("requests", [WHOLE, Resources(extended=(("nvidia.com/mig-1g.10gb", 1),))])
def test_after_it_has_left_nothing_is_given_by_uuid_before_pods_with_its_gpus_have_ended(requests):
    made = cluster(2)
    made.pod_seen(other("notebook", "n0", requests))
    demand = job("first")
    assert places(made, demand) == []
    made.pod_gone("notebook")
    assert len(made.assign(NOW)) == 1


@pytest.mark.parametrize("first", ["ours", "whole"])
def test_a_slot_that_is_held_and_cannot_be_used_any_more_keeps_nobody_off_the_node(first):
    made = cluster(1)
    ours, whole = job("ours"), exclusive("whole")
    for demand, slot in ((ours, on("n0", 0)), (whole, Slot("n1"))):
        made.job_seen(demand)
        made.pod_seen(driver(demand, slot))
    made.node_seen(kubelet_node("n0", 1))
    made.node_seen(node("n1"))
    made.gpus_seen(gpus("n1", 1))
    demands = {"ours": ours, "whole": whole}
    found = {first: places(made, demands.pop(first))}
    ((second, demand),) = demands.items()
    found[second] = places(made, demand, 2000)
    assert found == {"ours": [on("n1", 0)], "whole": [Slot("n0")]}


@pytest.mark.parametrize("how", ["time-slicing", "mps"])
def test_what_the_plugin_gives_to_several_pods_is_no_whole_gpu(how):
    made = cluster()
    made.node_seen(kubelet_node("n0", 8, labels={"nvidia.com/gpu.sharing-strategy": how}))
    whole = exclusive("whole")
    assert places(made, whole) == []
    lacking = made.reserve(whole.uid, NOW)
    assert isinstance(lacking, Lacking)
    shares = f"1 node shares each of its GPUs between pods (nvidia.com/gpu.sharing-strategy={how})"
    assert shares in lacking.message
    made.node_seen(kubelet_node("n1", 1, labels={"nvidia.com/gpu.sharing-strategy": "none"}))
    assert [each.slot for each in made.assign(NOW)] == [Slot("n1")]


def test_whole_gpus_are_held_for_a_job_before_its_driver():
    made = cluster()
    made.node_seen(kubelet_node("n0", 2))
    first, second = exclusive("first", 2), exclusive("second")
    made.job_seen(first)
    made.job_seen(second)
    assert made.reserve(first.uid, NOW) == Reservation(first.uid, (Slot("n0"), Slot("n0")))
    assert isinstance(made.reserve(second.uid, NOW), Lacking)


def test_a_namespace_that_has_whole_gpus_goes_after_one_that_has_none():
    made = cluster()
    made.node_seen(kubelet_node("n0", 3))
    run(made, exclusive("first", 2, namespace="rich"), Slot("n0"), Slot("n0"))
    for name, namespace, number in (("older", "rich", 1), ("younger", "poor", 2)):
        demand = exclusive(name, namespace=namespace)
        made.job_seen(demand)
        made.pod_seen(executor(demand, number))
    assert [each.pod.namespace for each in made.assign(NOW)] == ["poor"]


def test_executors_on_cpus_leave_nodes_of_the_kubelets_gpus_to_others():
    made = cluster()
    made.node_seen(kubelet_node("n0", 0, capacity=4))
    made.node_seen(node("n1"))
    assert places(made, job("cpu", 2, device="CPU")) == [Slot("n1"), Slot("n1")]


def test_gpus_of_the_kubelets_are_no_idle_ones_of_the_pool():
    made = cluster(2, 2)
    made.node_seen(kubelet_node("n1", 2))
    places(made, job("first", 2))
    found = made.census(NOW)
    assert found.gpus == {"Healthy": 2, "Kubelet": 2}
    assert (found.by_executors, found.unevenness) == ({1: 2}, 0)
