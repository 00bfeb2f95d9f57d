"""Executors are spread evenly over the GPUs that all of them may use."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool_operator.domain.cluster_state import Slot
from support.clusters import NOW, cluster, confirm, executor, job, on, run


def counts(slots, *nodes_of_gpus):
    """Executors on each GPU of the cluster."""
    found = Counter(
        {on(f"n{n}", g): 0 for n, count in enumerate(nodes_of_gpus) for g in range(count)}
    )
    found.update(slots)
    return list(found.values())


@pytest.mark.parametrize("seed", range(100))
def test_sixteen_executors_at_once_are_two_on_each_of_eight_gpus(seed):
    """In any order of arrival, however many are decided at a time, whenever writes are seen."""
    order = random.Random(seed)
    made = cluster(4, 4)
    demand = job("rush-hour", 16, executors_per_gpu=2)
    made.job_seen(demand)
    pods = [executor(demand, number) for number in range(16)]
    order.shuffle(pods)
    unseen, slots = [], []
    for pod in pods:
        made.pod_seen(pod)
        unseen += made.assign(NOW, limit=order.randint(1, 4))
        if order.random() < 0.5:
            slots += confirm(made, unseen)
            unseen = []
    unseen += made.assign(NOW)
    slots += confirm(made, unseen)
    assert counts(slots, 4, 4) == [2] * 8


@given(
    nodes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    jobs=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    per_gpu=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_after_any_burst_gpus_differ_by_one_executor_at_most(nodes, jobs, per_gpu, order):
    made = cluster(*nodes)
    pods = []
    for number, executors in enumerate(jobs):
        demand = job(f"j{number}", executors, executors_per_gpu=per_gpu, shared_with="Any")
        made.job_seen(demand)
        pods += [executor(demand, 100 * number + each) for each in range(executors)]
    order.shuffle(pods)
    for pod in pods:
        made.pod_seen(pod)
    slots = confirm(made, made.assign(NOW, limit=1000))
    found = counts(slots, *nodes)
    assert sum(found) == min(len(pods), per_gpu * sum(nodes))
    assert max(found) - min(found) <= 1


@given(
    bursts=st.lists(st.integers(1, 8), min_size=2, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_executors_that_end_leave_places_that_the_next_ones_fill(bursts, order):
    """Nobody is moved; but no GPU gets another executor while one has fewer."""
    made = cluster(3, 3)
    demand = job("rush-hour", 100, executors_per_gpu=4)
    made.job_seen(demand)
    live, number = {}, 0
    for burst in bursts:
        for _ in range(burst):
            number += 1
            made.pod_seen(executor(demand, number))
        for assignment in made.assign(NOW):
            before = counts(live.values(), 3, 3)
            assert list(live.values()).count(assignment.slot) == min(before)
            live[assignment.pod.uid] = assignment.slot
            confirm(made, [assignment])
        for uid in order.sample(sorted(live), k=len(live) // 2):
            made.pod_gone(uid)
            del live[uid]


def test_nodes_are_balanced_before_gpus_of_a_node_are():
    made = cluster(4, 4, 4)
    demand = job("rush-hour", 6)
    made.job_seen(demand)
    for number in range(6):
        made.pod_seen(executor(demand, number))
    slots = confirm(made, made.assign(NOW))
    assert Counter(slot.node for slot in slots) == {"n0": 2, "n1": 2, "n2": 2}


def test_executors_of_one_job_are_kept_apart_where_gpus_are_equally_loaded():
    made = cluster(2)
    first = job("first", 2, executors_per_gpu=3, shared_with="Any")
    second = job("second", 2, executors_per_gpu=3, shared_with="Any")
    for demand in (first, second):
        made.job_seen(demand)
        for number in (1, 2):
            made.pod_seen(executor(demand, number))
            confirm(made, made.assign(NOW))
    third = executor(first, 3)
    made.job_seen(job("first", 4, executors_per_gpu=3, shared_with="Any"))
    made.pod_seen(third)
    made.pod_seen(executor(first, 4))
    slots = confirm(made, made.assign(NOW))
    assert sorted(slots, key=str) == [on("n0", 0), on("n0", 1)]


def test_pack_fills_a_gpu_and_its_node_before_taking_the_next():
    made = cluster(2, 2)
    demand = job("rush-hour", 8, executors_per_gpu=2, placement="Pack")
    made.job_seen(demand)
    slots: list[Slot] = []
    for number in range(8):
        made.pod_seen(executor(demand, number))
        slots += confirm(made, made.assign(NOW))
    assert [slot.node for slot in slots] == ["n0"] * 4 + ["n1"] * 4
    assert [one == other for one, other in pairwise(slots)] == [True, False] * 3 + [True]


def test_pack_keeps_a_job_together_where_gpus_are_equally_loaded():
    made = cluster(2)
    terms = {"executors_per_gpu": 3, "shared_with": "Any", "placement": "Pack"}
    run(made, job("other", **terms), on("n0", 0))
    demand = job("first", 2, **terms)
    run(made, demand, on("n0", 1))
    made.pod_seen(executor(demand, 9))
    assert confirm(made, made.assign(NOW)) == [on("n0", 1)]


def test_executors_on_cpus_prefer_nodes_without_gpus():
    made = cluster(0, 2)
    made.gpus_gone("n0")
    demand = job("rush-hour", 3, device="CPU")
    made.job_seen(demand)
    for number in range(3):
        made.pod_seen(executor(demand, number))
    assert confirm(made, made.assign(NOW)) == [Slot("n0")] * 3


def test_a_heap_that_has_been_dropped_changes_no_choice(monkeypatch):
    """Every decision makes its heaps anew."""

    def slots():
        made = cluster(4, 4, 2)
        demands = [job(f"j{n}", 8, executors_per_gpu=3, shared_with="Any") for n in range(3)]
        for demand in demands:
            made.job_seen(demand)
        for number in range(8):
            for demand in demands:
                made.pod_seen(executor(demand, number))
        return [confirm(made, made.assign(NOW, limit=1)) for _ in range(24)]

    kept = slots()
    monkeypatch.setattr("carpool_operator.domain.allocation.choice._KEPT", 1)
    assert slots() == kept
