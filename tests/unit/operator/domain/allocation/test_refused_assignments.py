"""An executor whose assignment is refused waits longer each time, and keeps nobody else waiting."""

from __future__ import annotations

from dataclasses import replace

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.cluster_state import Slot
from support.clusters import NOW, executor, job, node


def crowded(executors: int) -> ClusterAllocator:
    """One place, and so many executors at the gate."""
    made = ClusterAllocator()
    made.node_seen(node("a", cpu=1000))
    demand = job("rush-hour", executors, device="CPU")
    made.job_seen(demand)
    for number in range(executors):
        made.pod_seen(executor(demand, number))
    return made


def decided(made: ClusterAllocator, now: float):
    found = made.assign(now, limit=1)
    return found[0] if found else None


def test_the_next_one_gets_its_place():
    made = crowded(2)
    first = decided(made, NOW)
    made.refused(first, NOW)
    second = decided(made, NOW)
    assert second.pod != first.pod
    assert second.slot == first.slot == Slot("a")


def test_it_is_tried_again_after_delays_that_double_up_to_a_minute():
    made = crowded(1)
    now, delays = NOW, []
    for _ in range(9):
        made.refused(decided(made, now), now)
        at = made.next_wakeup(now)
        assert decided(made, at - 0.01) is None
        delays.append(at - now)
        now = at
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_however_often_it_is_refused_all_others_have_their_turns():
    made = crowded(4)
    tried = []
    while (one := decided(made, NOW)) is not None:
        tried.append(one.pod.uid)
        made.refused(one, NOW)
    assert len(tried) == len(set(tried)) == 4


def test_what_it_waits_for_is_told():
    made = crowded(1)
    made.refused(decided(made, NOW), NOW)
    lacking = made.why_waiting("uid-rush-hour", NOW)
    assert lacking.reason == "AssignmentRefused"
    assert "1 executor at the gate" in lacking.message


def test_one_that_is_deleted_meanwhile_is_not_tried_again():
    made = crowded(1)
    refused = decided(made, NOW)
    made.refused(refused, NOW)
    made.pod_seen(replace(refused.pod, deleting=True))
    assert decided(made, NOW + 100) is None
    made.pod_gone(refused.pod.uid)
    assert made.next_wakeup(NOW) is None


def test_one_that_another_has_assigned_is_forgotten():
    made = crowded(1)
    refused = decided(made, NOW)
    made.refused(refused, NOW)
    made.pod_seen(replace(refused.pod, gated=False, node="a", assigned=NOW))
    assert decided(made, NOW + 100) is None
    assert made.next_wakeup(NOW) is None
