"""Slots are held for a job's required executors before its driver exists, all or none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.allocation.reservation import (
    reservation_annotation,
    reserved_slots,
)
from carpool_operator.domain.cluster_state import Resources, Slot
from support.clusters import (
    NOW,
    cluster,
    confirm,
    driver,
    executor,
    gpus,
    job,
    node,
    on,
    run,
)

ALL = [on("n0", index) for index in range(4)]


def reserved(made, demand):
    """The slots of a job that gets its reservation."""
    made.job_seen(demand)
    found = made.reserve(demand.uid, NOW)
    assert isinstance(found, Reservation), found
    return list(found.slots)


def test_all_required_slots_or_none():
    made = cluster(4)
    made.job_seen(job("large", 5))
    assert isinstance(made.reserve("uid-large", NOW), Lacking)
    made.job_gone("uid-large")
    assert reserved(made, job("fitting", 4)) == ALL


def test_two_jobs_never_hold_parts_of_what_one_of_them_needs():
    made = cluster(4)
    assert len(reserved(made, job("first", 3))) == 3
    made.job_seen(job("second", 3))
    assert isinstance(made.reserve("uid-second", NOW), Lacking)
    made.job_gone("uid-second")
    assert len(reserved(made, job("third", 1))) == 1


def test_slots_are_held_while_the_driver_is_created_and_started():
    made = cluster(4)
    demand = job("first", 4)
    slots = reserved(made, demand)
    made.pod_seen(driver(demand, *slots, phase="Pending", node=None))
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 1))
    assert made.assign(NOW) == []


def test_executors_take_their_slots_in_order_and_the_rest_stays_held():
    made = cluster(4)
    demand = job("first", 4)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    made.pod_seen(executor(demand, 1))
    made.pod_seen(executor(demand, 2))
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 0))
    assert confirm(made, made.assign(NOW)) == ALL[:2]


def test_a_slot_is_held_again_for_the_executor_that_replaces_one():
    made = cluster(2)
    demand = job("first", 2)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    pods = run(made, demand, on("n0", 0), on("n0", 1))
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 0))
    made.pod_gone(pods[0].uid)
    assert made.assign(NOW) == []
    made.pod_seen(executor(demand, 9))
    assert confirm(made, made.assign(NOW)) == [on("n0", 0)]


def test_nothing_is_held_beside_an_executor_that_is_on_its_way_out():
    """Its slot is held again when its containers have ended."""
    made = cluster(1)
    demand = job("first", 1, executors_per_gpu=2)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    (pod,) = run(made, demand, on("n0", 0))
    made.pod_seen(replace(pod, deleting=True))
    second = job("second", 1, executors_per_gpu=2)
    first_again = executor(demand, 9)
    made.pod_seen(first_again)
    assert confirm(made, made.assign(NOW)) == [on("n0", 0)]
    made.job_seen(second)
    assert made.evictions(NOW) == []


def test_executors_beyond_the_required_ones_hold_nothing_when_they_end():
    made = cluster(3)
    demand = job("first", 3, required=1)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    pods = run(made, demand, on("n0", 0), on("n0", 1), on("n0", 2))
    made.pod_gone(pods[0].uid)  # on the slot that was reserved
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 0))
    assert confirm(made, made.assign(NOW)) == [on("n0", 0)]


def test_a_job_that_needs_fewer_executors_by_now_holds_fewer_slots():
    """As when it only tracks."""
    made = cluster(4)
    demand = job("first", 4)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    made.job_seen(job("first", 1))
    assert len(reserved(made, job("second", 3))) == 3


@pytest.mark.parametrize("end", [{"deleting": True}, {"ended": True, "phase": "Failed"}])
def test_a_driver_that_ends_holds_nothing(end):
    made = cluster(4)
    demand = job("first", 4)
    slots = reserved(made, demand)
    made.pod_seen(driver(demand, *slots))
    made.pod_seen(driver(demand, *slots, **end))
    assert len(reserved(made, job("second", 4))) == 4


def test_a_reservation_without_a_driver_is_given_up_with_its_job():
    made = cluster(4)
    for _ in range(2):
        demand = job("first", 4)
        assert reserved(made, demand) == ALL
        made.job_gone(demand.uid)


def test_a_reserved_gpu_that_is_lost_is_passed_over():
    """The executor goes elsewhere, and nothing more is held than the job needs."""
    made = cluster(3)
    demand = job("first", 2)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    made.gpus_seen(gpus("n0", 3, g0="Lost"))
    made.pod_seen(executor(demand, 1))
    made.pod_seen(executor(demand, 2))
    assert sorted(confirm(made, made.assign(NOW)), key=str) == [on("n0", 1), on("n0", 2)]
    made.gpus_seen(gpus("n0", 3))
    assert reserved(made, job("second", 1)) == [on("n0", 0)]


def test_of_more_reserved_slots_than_are_needed_those_on_lost_gpus_are_left_out():
    made = cluster(4)
    demand = job("first", 3)
    made.pod_seen(driver(demand, *reserved(made, demand)))
    run(made, demand, on("n0", 3))  # not one of the three, so one of them is too many
    assert made.assign(NOW) == []
    made.gpus_seen(gpus("n0", 4, g0="Lost"))
    second = job("second")
    made.job_seen(second)
    made.pod_seen(executor(second, 0))
    assert made.assign(NOW) == []
    made.pod_seen(executor(demand, 1))
    made.pod_seen(executor(demand, 2))
    assert confirm(made, made.assign(NOW)) == [on("n0", 1), on("n0", 2)]


def test_a_reservation_that_a_pod_could_not_carry_is_refused():
    made = ClusterAllocator()
    made.node_seen(node("n0", allocatable=Resources(10**9, 10**15, 10**6)))
    made.job_seen(job("first", 20_000, device="CPU"))
    found = made.reserve("uid-first", NOW)
    assert isinstance(found, Lacking)
    assert found.reason == "TooManyRequired"
    assert made.next_wakeup(NOW) is None  # it is not in the queue


def test_a_job_that_does_not_exist_reserves_nothing():
    found = cluster(1).reserve("unknown", NOW)
    assert isinstance(found, Lacking)
    assert found.reason == "NotAccepted"


@given(
    st.lists(
        st.builds(
            Slot,
            node=st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True),
            gpu=st.none() | st.from_regex(r"GPU-[a-f0-9-]{1,36}", fullmatch=True),
        )
    )
)
def test_a_reservation_is_read_as_it_was_written(slots):
    assert list(reserved_slots(reservation_annotation(slots))) == slots
