"""A job that has waited over five minutes gets its slots, whatever else comes and goes."""

from __future__ import annotations

from collections import deque
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.cluster_state import Resources, Slot
from support.clusters import GIB, NOW, assigned, cluster, executor, job, node, on, other, run

LATER = NOW + 300  # patience is over for jobs of NOW


class Stream:
    """Jobs that ask for more executors than they require, for ever; executors last for a while."""

    def __init__(self, made, *demands):
        self.made = made
        self.demands = demands
        self.live: deque = deque()
        self._numbers = count(1)
        for demand in demands:
            made.job_seen(demand)

    def fill(self, now):
        """Ask until nothing more is given; answers how many were."""
        given_now = 0
        for demand in self.demands:
            while True:
                pod = executor(demand, next(self._numbers))
                self.made.pod_seen(pod)
                found = self.made.assign(now)
                for assignment in found:
                    self.live.append(assigned(assignment, now))
                    self.made.pod_seen(self.live[-1])
                if not found:
                    self.made.pod_gone(pod.uid)
                    break
                given_now += len(found)
        return given_now

    def end_oldest(self):
        self.made.pod_gone(self.live.popleft().uid)

    def rounds_until(self, demand, most):
        """Ends of executors until the job has its slots; after each all places are taken again."""
        for rounds in range(most + 1):
            if isinstance(self.made.reserve(demand.uid, LATER), Reservation):
                return rounds
            self.fill(LATER)
            self.end_oldest()
        raise AssertionError(f"{demand.name} waits after {most} executors have ended")


def small(name="small", **changes):
    """A job of small executors that is content with none."""
    terms = {"required": 0, "executors_per_gpu": 2, "shared_with": "Any"}
    return job(name, 1000, **(terms | changes))


def waits(made, demand, now=LATER):
    made.job_seen(demand)
    found = made.reserve(demand.uid, now)
    assert isinstance(found, Lacking), found
    return found


def lasting(*nodes_of_gpus):
    return cluster(*nodes_of_gpus, heartbeat=LATER)


def test_a_job_that_needs_a_whole_gpu_gets_one_behind_executors_that_share():
    stream = Stream(lasting(2), small())
    assert stream.fill(NOW) == 4
    waits(stream.made, whole := job("whole"))
    assert stream.rounds_until(whole, 4) <= 4


def test_as_many_slots_as_it_lacks_are_left_to_a_job_and_no_more():
    stream = Stream(lasting(4), small())
    assert stream.fill(NOW) == 8
    waits(stream.made, job("whole", 2))
    for _ in range(4):
        stream.end_oldest()  # one on each GPU, in the order of their names
    assert stream.fill(LATER) == 2
    assert [pod.gpu for pod in stream.live][-2:] == [on("n0", 2).gpu, on("n0", 3).gpu]


def test_the_slots_that_are_left_are_those_with_the_fewest_executors():
    stream = Stream(lasting(3), small(executors_per_gpu=3))
    assert stream.fill(NOW) == 9
    last = on("n0", 2).gpu
    for pod in [pod for pod in stream.live if pod.gpu == last][:2]:
        stream.live.remove(pod)
        stream.made.pod_gone(pod.uid)
    waits(stream.made, job("whole"))
    assert stream.fill(LATER) == 0
    stream.end_oldest()  # on the first GPU: its place is taken again
    assert stream.fill(LATER) == 1


def test_a_job_on_cpus_that_needs_much_of_a_node_gets_it_behind_small_ones():
    made = cluster()
    for name in ("a", "b"):
        made.node_seen(node(name, cpu=16_000))
    stream = Stream(made, small(device="CPU", executor_requests=Resources(1000, GIB, 1)))
    assert stream.fill(NOW) == 32
    large = job("large", device="CPU", executor_requests=Resources(12_000, GIB, 1))
    waits(made, large)
    assert stream.rounds_until(large, 32) <= 24


def test_what_a_node_has_beside_what_is_left_to_a_job_is_used():
    made = cluster()
    made.node_seen(node("a", cpu=16_000))
    stream = Stream(made, small(device="CPU", executor_requests=Resources(1000, GIB, 1)))
    run(made, job("runs", device="CPU", executor_requests=Resources(6000, GIB, 1)), Slot("a"))
    waits(made, job("large", device="CPU", executor_requests=Resources(11_000, GIB, 1)))
    assert stream.fill(LATER) == 0
    made.pod_gone("runs-0")
    assert stream.fill(LATER) == 5


def test_executors_on_other_gpus_of_a_node_leave_a_job_the_cpus_that_it_needs_there():
    made = lasting(2)
    made.node_seen(node("n0", cpu=16_000))
    stream = Stream(made, small(executor_requests=Resources(4000, GIB, 1)))
    assert stream.fill(NOW) == 4
    large = job("large", executor_requests=Resources(12_000, GIB, 1))
    waits(made, large)
    assert stream.rounds_until(large, 4) <= 4


def test_executors_on_cpus_leave_a_job_the_cpus_that_it_needs_beside_its_gpu():
    made = lasting(1)
    made.node_seen(node("n0", cpu=16_000))
    stream = Stream(made, small(device="CPU", executor_requests=Resources(1000, GIB, 1)))
    assert stream.fill(NOW) == 16
    large = job("large", executor_requests=Resources(12_000, GIB, 1))
    waits(made, large)
    assert stream.rounds_until(large, 16) <= 12


def test_the_job_that_has_waited_longest_goes_first_even_if_its_namespace_holds_more():
    made = lasting(4)
    run(made, job("a1", 2, namespace="a"), on("n0", 0), on("n0", 1))
    ending = run(made, job("c1", 2, namespace="c"), on("n0", 2), on("n0", 3))
    for number, name in enumerate(("a2", "a3", "b1")):
        waits(made, job(name, namespace=name[0], created=NOW + number), LATER + number)
    for pod in ending:
        made.pod_gone(pod.uid)
    assert isinstance(made.reserve("uid-a3", LATER + 2), Lacking)
    assert isinstance(made.reserve("uid-b1", LATER + 2), Reservation)
    assert isinstance(made.reserve("uid-a2", LATER + 2), Reservation)


def test_a_job_that_others_pods_leave_too_little_for_keeps_nobody_off():
    """Nobody knows when those end."""
    made = cluster()
    made.node_seen(node("a", cpu=16_000))
    made.pod_seen(other("web", "a", Resources(8000, GIB, 1)))
    stream = Stream(made, small(device="CPU", executor_requests=Resources(1000, GIB, 1)))
    waits(made, job("large", device="CPU", executor_requests=Resources(12_000, GIB, 1)))
    assert stream.fill(LATER) == 8
    made.pod_gone("web")
    assert stream.fill(LATER) == 0


STREAMS = st.builds(
    small,
    name=st.uuids().map(str),
    executors_per_gpu=st.integers(1, 3),
    shared_with=st.sampled_from(["Job", "Any"]),
    device=st.sampled_from(["GPU", "GPU", "CPU"]),
    placement=st.sampled_from(["Spread", "Pack"]),
    executor_requests=st.builds(
        Resources, cpu=st.integers(1, 4).map(lambda cores: cores * 1000), pods=st.just(1)
    ),
)
PATIENT = st.builds(
    job,
    name=st.just("patient"),
    executors=st.integers(1, 6),
    executors_per_gpu=st.integers(1, 2),
    shared_with=st.sampled_from(["Job", "Any"]),
    device=st.sampled_from(["GPU", "GPU", "CPU"]),
    executor_requests=st.builds(
        Resources, cpu=st.integers(1, 8).map(lambda cores: cores * 1000), pods=st.just(1)
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(4, 10)), min_size=1, max_size=3),
    streams=st.lists(STREAMS, min_size=1, max_size=3),
    patient=PATIENT,
    order=st.randoms(use_true_random=False),
)
def test_whoever_would_fit_if_all_executors_ended_fits_when_each_has_ended_once_in_turn(
    shapes, streams, patient, order
):
    """In whatever order they end."""
    made = lasting(*(count for count, _ in shapes))
    for index, (_, cores) in enumerate(shapes):
        made.node_seen(node(f"n{index}", cpu=cores * 1000))
    made.job_seen(patient)
    if not isinstance(made.reserve(patient.uid, NOW), Reservation):
        return  # it would not fit into an empty cluster
    made.job_gone(patient.uid)
    stream = Stream(made, *streams)
    stream.fill(NOW)
    made.job_seen(patient)
    for _ in range(10 * sum(cores for _, cores in shapes)):
        if isinstance(made.reserve(patient.uid, LATER), Reservation):
            return
        stream.fill(LATER)
        # All that run now end before any that comes after them does.
        for pod in order.sample(running := list(stream.live), len(running)):
            stream.live.remove(pod)
            made.pod_gone(pod.uid)
            if isinstance(made.reserve(patient.uid, LATER), Reservation):
                return
            stream.fill(LATER)
    raise AssertionError("it waits for ever")
