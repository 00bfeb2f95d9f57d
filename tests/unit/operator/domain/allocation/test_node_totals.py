"""What `kubectl get gpunodes` shows of what is assigned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool_operator.domain.allocation.node_totals import NodeTotals
from carpool_operator.domain.cluster_state import Slot
from support.clusters import (
    GIB,
    NOW,
    WHOLE,
    cluster,
    executor,
    gpus,
    job,
    kubelet_node,
    on,
    other,
    run,
)


def test_a_node_has_the_memory_of_its_gpus_less_what_executors_were_promised():
    made = cluster(4)
    assert made.node_totals() == {"n0": NodeTotals(0, 4 * 240)}
    run(made, job("half", executors_per_gpu=2), on("n0", 0))
    run(made, job("some", gpu_memory=5 * GIB), on("n0", 1))
    run(made, job("all"), on("n0", 2))
    assert made.node_totals() == {"n0": NodeTotals(3, 120 + 190 + 0 + 240)}


def test_a_slot_that_is_held_is_taken():
    made = cluster(2)
    made.job_seen(job("first", 2))
    made.reserve("uid-first", NOW)
    assert made.node_totals() == {"n0": NodeTotals(2, 0)}


def test_a_gpu_that_is_not_healthy_has_no_memory_to_give():
    made = cluster(2)
    made.gpus_seen(gpus("n0", 2, g1="Lost"))
    assert made.node_totals() == {"n0": NodeTotals(0, 240)}


def test_executors_on_cpus_and_other_pods_are_on_no_gpu():
    made = cluster(1)
    on_cpus = job("on-cpus", device="CPU")
    run(made, on_cpus, replace(on("n0", 0), gpu=None))
    made.pod_seen(other("web", "n0", executor(on_cpus, 1).requests))
    assert made.node_totals() == {"n0": NodeTotals(0, 240)}


def test_where_the_kubelet_hands_gpus_out_what_pods_have_asked_of_it_counts():
    made = cluster(4)
    made.node_seen(kubelet_node("n0", 4))
    run(made, job("whole", executor_requests=WHOLE), Slot("n0"))
    made.pod_seen(other("notebook", "n0", WHOLE))
    assert made.node_totals() == {"n0": NodeTotals(1, 2 * 240)}


def test_a_node_without_a_report_is_not_told_of():
    made = cluster(1)
    made.gpus_gone("n0")
    assert made.node_totals() == {}


@pytest.mark.parametrize(
    ("memory", "text"),
    [(0, "0Gi"), (9, "0.9Gi"), (10, "1Gi"), (224, "22.4Gi"), (6_400, "640Gi")],
)
def test_memory_is_told_in_gib(memory, text):
    assert NodeTotals(1, memory).status() == {"executors": 1, "freeMemory": text}
