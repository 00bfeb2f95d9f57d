"""Who goes first where not all fit."""

from __future__ import annotations

from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.cluster_state import Resources, Scheduling
from support import clusters
from support.clusters import NOW, confirm, driver, executor, job, node, on, other, run

PATIENCE = 300


def cluster(*nodes_of_gpus):
    """One whose agents report all the time."""
    return clusters.cluster(*nodes_of_gpus, heartbeat=NOW + 100 * PATIENCE)


def waits(made, demand, now=NOW):
    """The job asks, and is told what is lacking."""
    made.job_seen(demand)
    found = made.reserve(demand.uid, now)
    assert isinstance(found, Lacking), found
    return found


def gets(made, demand, now=NOW):
    made.job_seen(demand)
    found = made.reserve(demand.uid, now)
    assert isinstance(found, Reservation), found
    return list(found.slots)


def full(gpus=4):
    """A cluster whose GPUs are all taken, and the executors that have them."""
    made = cluster(gpus)
    return made, run(made, job("full", gpus), *(on("n0", index) for index in range(gpus)))


def test_a_smaller_job_goes_first_while_a_larger_one_does_not_fit():
    made = cluster(4)
    run(made, job("running"), on("n0", 0))
    waits(made, job("large", 4))
    assert len(gets(made, job("small", 1), NOW + PATIENCE - 1)) == 1


def test_after_five_minutes_a_smaller_one_no_longer_slips_past():
    made = cluster(4)
    (running,) = run(made, job("running"), on("n0", 0))
    waits(made, job("large", 4))
    small = job("small", 1, created=NOW + 1)
    found = waits(made, small, NOW + PATIENCE)
    assert found.reason == "QueuedBehind"
    assert "traffic/large goes first" in found.message
    made.pod_gone(running.uid)
    assert len(gets(made, job("large", 4), NOW + PATIENCE)) == 4


def test_a_job_that_waits_keeps_others_only_off_slots_that_it_could_use():
    made = cluster(2)
    made.node_seen(node("a-node", labels={"kind": "other"}))
    made.node_seen(node("n1", labels={"kind": "l4"}))
    run(made, job("running"), on("n0", 0))
    needs_cpus = job("large", 2, executor_requests=Resources(cpu=60_000, pods=1))
    waits(made, needs_cpus)
    made.node_seen(node("n0", cpu=50_000))  # where it no longer fits, nobody is kept off
    assert gets(made, job("small", 1, created=NOW + 1), NOW + PATIENCE) == [on("n0", 1)]


def test_jobs_for_different_nodes_do_not_wait_for_each_other():
    made = cluster(2, 2)
    for index in (0, 1):
        made.node_seen(node(f"n{index}", labels={"zone": str(index)}))
    run(made, job("running"), on("n0", 0))
    waits(made, job("large", 2, executor_scheduling=Scheduling({"zone": "0"})))
    elsewhere = job("other", 2, executor_scheduling=Scheduling({"zone": "1"}), created=NOW + 1)
    assert gets(made, elsewhere, NOW + PATIENCE) == [on("n1", 0), on("n1", 1)]


def test_a_job_that_could_never_fit_keeps_nobody_waiting():
    made = cluster(4)
    waits(made, job("impossible", 5))
    assert len(gets(made, job("small", 4, created=NOW + 1), NOW + 10 * PATIENCE)) == 4


def test_a_job_that_has_waited_longest_goes_first():
    made, running = full()
    waits(made, job("second", 3, created=NOW + 20), NOW + 30)
    waits(made, job("first", 3, created=NOW + 10), NOW + 30)
    for pod in running:
        made.pod_gone(pod.uid)
    assert waits(made, job("second", 3, created=NOW + 20), NOW + 30).reason == "QueuedBehind"
    assert len(gets(made, job("first", 3, created=NOW + 10), NOW + 30)) == 3


def test_namespaces_that_hold_fewer_gpus_go_first():
    made = cluster(4)
    run(made, job("a1", 2, namespace="a"), on("n0", 0), on("n0", 1))
    (last,) = run(made, job("b1", 1, namespace="b"), on("n0", 2))
    waits(made, job("a2", 2, namespace="a"), NOW + 5)
    waits(made, job("b2", 2, namespace="b", created=NOW + 4), NOW + 5)
    made.pod_gone(last.uid)
    assert waits(made, job("a2", 2, namespace="a"), NOW + 5).reason == "QueuedBehind"
    assert len(gets(made, job("b2", 2, namespace="b", created=NOW + 4), NOW + 5)) == 2


def test_a_job_waits_since_it_was_queued_and_not_since_it_was_created():
    """As one that was suspended for a day."""
    made = cluster(4)
    run(made, job("running"), on("n0", 0))
    waits(made, job("large", 4, created=NOW - 86_400, queued_since=NOW))
    assert len(gets(made, job("small", 1), NOW + PATIENCE - 1)) == 1


def test_the_queue_is_known_from_the_jobs_alone():
    """After a restart nobody slips past because it asks first."""
    made = cluster(4)
    run(made, job("running"), on("n0", 0))
    made.job_seen(job("large", 4, queued_since=NOW))
    assert waits(made, job("small", 1, created=NOW + 1), NOW + PATIENCE).reason == "QueuedBehind"
    made.job_seen(job("large", 4))  # asks no more
    assert len(gets(made, job("small", 1, created=NOW + 1), NOW + PATIENCE)) == 1


def test_a_job_that_is_gone_keeps_nobody_waiting():
    made = cluster(4)
    run(made, job("running"), on("n0", 0))
    waits(made, job("large", 4))
    made.job_gone("uid-large")
    gets(made, job("small", 1, created=NOW + 1), NOW + PATIENCE)


def test_jobs_get_what_fits_beside_those_before_them():
    made, running = full()
    first, second, third = (
        job(f"j{number}", size, created=NOW + number) for number, size in enumerate((3, 2, 1))
    )
    for demand in (first, second, third):
        waits(made, demand, NOW + 5)
    for pod in running:
        made.pod_gone(pod.uid)
    assert waits(made, second, NOW + 5).reason == "QueuedBehind"
    assert len(gets(made, third, NOW + 5)) == 1
    assert len(gets(made, first, NOW + 5)) == 3


def test_executors_beyond_the_required_ones_do_not_take_what_a_job_waits_for():
    made = cluster(4)
    growing = job("growing", 4, required=1)
    made.job_seen(growing)
    made.pod_seen(driver(growing, on("n0", 0)))
    run(made, growing, on("n0", 0))
    (running,) = run(made, job("running"), on("n0", 1))
    waits(made, job("large", 3, created=NOW))
    made.pod_seen(executor(growing, 9))
    assert made.assign(NOW + PATIENCE) == []
    found = made.why_waiting(growing.uid, NOW + PATIENCE)
    assert found is not None
    assert found.reason == "QueuedBehind"
    assert "traffic/large" in found.message
    # A required one does: a job that runs is not left without, for one that does not.
    made.pod_gone(f"{growing.name}-0")
    assert [each.slot for each in made.assign(NOW + PATIENCE)] == [on("n0", 0)]
    made.pod_gone(running.uid)


def test_a_slot_that_the_waiting_job_can_no_longer_use_is_free_for_others():
    """Since others have taken the room that it would need there."""
    made = cluster(2, 2)
    growing = job("growing", 4, required=1)
    run(made, growing, on("n0", 0))
    needs_cpus = job("large", 4, executor_requests=Resources(cpu=30_000, pods=1))
    waits(made, needs_cpus)
    made.pod_seen(executor(growing, 9))
    assert made.assign(NOW + PATIENCE) == []
    made.pod_seen(other("web", "n1", Resources(cpu=50_000, pods=1)))
    assert [each.slot for each in made.assign(NOW + PATIENCE)] == [on("n1", 0)]


def test_required_executors_go_before_those_beyond_and_light_namespaces_before_heavy_ones():
    made = cluster(8)
    beyond = job("beyond", 8, required=0, namespace="light")
    heavy, light = job("heavy", 4, namespace="heavy"), job("light", 4, namespace="light")
    run(made, heavy, on("n0", 0), on("n0", 1))
    made.job_seen(beyond)
    made.job_seen(light)
    made.pod_seen(executor(beyond, 1))
    for number in (11, 12):
        made.pod_seen(executor(heavy, number))
        made.pod_seen(executor(light, 10 + number))
    found = made.assign(NOW)
    assert [each.pod.uid for each in found] == [
        "light-21",
        "light-22",
        "heavy-11",
        "heavy-12",
        "beyond-1",
    ]


def test_the_oldest_executor_of_a_namespace_goes_first():
    made = cluster(1)
    demand = job("first", 3)
    made.job_seen(demand)
    for number in (3, 1, 2):
        made.pod_seen(executor(demand, number))
    assert [each.pod.uid for each in made.assign(NOW)] == ["first-1"]


def test_the_next_look_is_due_when_patience_ends():
    made, _ = full()
    waits(made, job("first", 1), NOW + 5)
    assert made.next_wakeup(NOW + 5) == NOW + PATIENCE
    assert made.next_wakeup(NOW + PATIENCE) is None
    assert confirm(made, made.assign(NOW)) == []
