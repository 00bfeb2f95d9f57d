"""Heaps choose what looking at every slot would choose, on clusters of many nodes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.domain.cluster_state import Resources
from support.clusters import GIB, NOW, assigned, cluster, executor, gpus, job, node
from support.plain_allocation import Told

TERMS = st.fixed_dictionaries(
    {
        "executors_per_gpu": st.integers(1, 4),
        "shared_with": st.sampled_from(["Job", "Namespace", "Any", "Any"]),
        "namespace": st.sampled_from(["a", "b"]),
        "placement": st.sampled_from(["Spread", "Spread", "Pack"]),
        "gpu_memory": st.sampled_from([None, GIB, 5 * GIB]),
        "executor_requests": st.sampled_from([Resources(cores * 1000, GIB, 1) for cores in (0, 3)]),
        "device": st.sampled_from(["GPU", "GPU", "GPU", "CPU"]),
    }
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["comes", "comes", "comes", "ends"]), st.integers(0, 99)),
    min_size=10,
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(
    nodes=st.lists(st.integers(0, 3), min_size=6, max_size=14),
    jobs=st.lists(TERMS, min_size=1, max_size=5),
    steps=STEPS,
)
def test_the_slot_of_the_smallest_key_is_chosen(nodes, jobs, steps):
    made, told = cluster(*nodes), Told()
    for index, count in enumerate(nodes):
        told.nodes[f"n{index}"] = node(f"n{index}")
        told.inventories[f"n{index}"] = gpus(f"n{index}", count)
    demands = [job(f"j{number}", 1000, **terms) for number, terms in enumerate(jobs)]
    for demand in demands:
        made.job_seen(demand)
        told.jobs[demand.uid] = demand
    for number, (what, which) in enumerate(steps):
        live = sorted(uid for uid, pod in told.pods.items() if pod.node)
        if what == "ends" and live:
            made.pod_gone(live[which % len(live)])
            del told.pods[live[which % len(live)]]
            continue
        demand = demands[which % len(demands)]
        pod = executor(demand, number)
        made.pod_seen(pod)
        eligible = told.eligible(demand, pod.requests, pod.scheduling, NOW)
        decided = made.assign(NOW)
        if not eligible:
            assert decided == []
            made.pod_gone(pod.uid)
            continue
        (assignment,) = decided
        assert assignment.slot == min(eligible, key=lambda slot: told.key(demand, slot))
        told.pods[pod.uid] = assigned(assignment)
        made.pod_seen(told.pods[pod.uid])
