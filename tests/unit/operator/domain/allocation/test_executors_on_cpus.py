"""Executors without GPUs go to any node that fits them whole, the emptiest first."""

from __future__ import annotations

from collections import Counter

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.cluster_state import Resources, Scheduling, Slot
from support.clusters import NOW, assigned, confirm, driver, executor, job, node, other


def allocator(*nodes):
    made = ClusterAllocator()
    for each in nodes:
        made.node_seen(each)
    return made


def cpu_job(name="rush-hour", executors=2, **changes):
    return job(name, executors, device="CPU", **changes)


def test_slots_are_held_for_all_required_executors_at_once():
    made = allocator(node("a"), node("b"))
    made.job_seen(cpu_job())
    assert made.reserve("uid-rush-hour", NOW) == Reservation(
        "uid-rush-hour", (Slot("a"), Slot("b"))
    )


def test_the_same_reservation_is_answered_until_a_driver_carries_it_and_then_too():
    made = allocator(node("a"), node("b"))
    demand = cpu_job()
    made.job_seen(demand)
    held = made.reserve(demand.uid, NOW)
    assert made.reserve(demand.uid, NOW) == held
    made.pod_seen(driver(demand, *held.slots))
    assert made.reserve(demand.uid, NOW) == held


def test_none_or_all():
    made = allocator(node("a", cpu=1000))
    made.job_seen(cpu_job(executors=2))
    made.job_seen(cpu_job("small", executors=1))
    lacking = made.reserve("uid-rush-hour", NOW)
    assert isinstance(lacking, Lacking)
    assert lacking.reason == "InsufficientCPU"
    # Nothing was held for the job that did not fit.
    assert isinstance(made.reserve("uid-small", NOW), Reservation)


def test_what_is_held_for_one_job_is_not_given_to_another():
    made = allocator(node("a", cpu=1000))
    first, second = cpu_job(executors=1), cpu_job("second", executors=1)
    made.job_seen(first)
    made.job_seen(second)
    assert isinstance(made.reserve(first.uid, NOW), Reservation)
    assert isinstance(made.reserve(second.uid, NOW), Lacking)
    made.pod_seen(executor(second, 1))
    assert made.assign(NOW) == []
    made.job_gone(first.uid)
    assert [each.slot for each in made.assign(NOW)] == [Slot("a")]


def test_executors_take_what_was_held_for_them():
    made = allocator(node("a", cpu=1000), node("b", cpu=1000))
    demand = cpu_job()
    made.job_seen(demand)
    made.pod_seen(driver(demand, Slot("a"), Slot("b")))
    for number in (1, 2, 3):
        made.pod_seen(executor(demand, number))
    found = made.assign(NOW)
    assert [(each.pod.uid, each.slot) for each in found] == [
        ("rush-hour-1", Slot("a")),
        ("rush-hour-2", Slot("b")),
    ]
    confirm(made, found)
    assert made.assign(NOW) == []


def test_an_assignment_counts_until_its_write_is_refused():
    made = allocator(node("a", cpu=1000))
    demand = cpu_job(executors=1)
    made.job_seen(demand)
    waiting = executor(demand, 1)
    made.pod_seen(waiting)
    (assignment,) = made.assign(NOW)
    made.pod_seen(waiting)  # an event from before the write
    assert made.assign(NOW) == []
    made.refused(assignment, NOW)
    assert made.assign(NOW + 1) == [assignment]


def test_executors_are_spread_over_nodes():
    made = allocator(*(node(name) for name in "abcd"))
    demand = cpu_job(executors=8)
    made.job_seen(demand)
    for number in range(8):
        made.pod_seen(executor(demand, number))
    slots = confirm(made, made.assign(NOW, limit=3)) + confirm(made, made.assign(NOW))
    assert Counter(slot.node for slot in slots) == dict.fromkeys("abcd", 2)


def test_room_counts_the_pods_of_others_until_they_have_ended():
    made = allocator(node("a", cpu=2000))
    demand = cpu_job(executors=1)
    made.job_seen(demand)
    made.pod_seen(executor(demand, 1))
    made.pod_seen(other("web", "a", Resources(cpu=1500, pods=1)))
    assert made.assign(NOW) == []
    made.pod_seen(other("web", "a", Resources(cpu=1500, pods=1), deleting=True))
    assert made.assign(NOW) == []
    made.pod_seen(other("web", "a", Resources(cpu=1500, pods=1), ended=True))
    assert [each.slot for each in made.assign(NOW)] == [Slot("a")]


def test_extended_resources_must_be_left_too():
    made = allocator(node("a", allocatable=Resources(9000, 9 << 30, 9, (("x/fpga", 1),))))
    demand = cpu_job(
        executors=2, executor_requests=Resources(1000, 0, 1, (("x/fpga", 1),)), required=1
    )
    made.job_seen(demand)
    made.pod_seen(executor(demand, 1))
    made.pod_seen(executor(demand, 2))
    assert len(made.assign(NOW)) == 1


def test_a_pod_goes_only_where_it_may():
    made = allocator(node("a"), node("b", labels={"disk": "ssd"}))
    demand = cpu_job(executors=1, executor_scheduling=Scheduling({"disk": "ssd"}))
    made.job_seen(demand)
    made.pod_seen(executor(demand, 1))
    assert [each.slot for each in made.assign(NOW)] == [Slot("b")]


def test_pods_that_another_gate_holds_or_that_are_being_deleted_are_left_alone():
    made = allocator(node("a"))
    demand = cpu_job()
    made.job_seen(demand)
    made.pod_seen(executor(demand, 1, held_by_others=True))
    made.pod_seen(executor(demand, 2, deleting=True))
    assert made.assign(NOW) == []


def test_a_new_allocator_that_is_told_everything_decides_the_same():
    demand = cpu_job(executors=3)
    seen = [node("a"), node("b"), node("c")]
    made = allocator(*seen)
    made.job_seen(demand)
    pods = [executor(demand, 1), executor(demand, 2)]
    for pod in pods:
        made.pod_seen(pod)
    first = made.assign(NOW, limit=1)
    confirm(made, first)
    again = allocator(*reversed(seen))
    again.pod_seen(pods[1])
    again.pod_seen(assigned(first[0]))
    again.job_seen(demand)
    assert again.assign(NOW) == made.assign(NOW)
