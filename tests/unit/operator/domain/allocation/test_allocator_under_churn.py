"""What holds of the allocator whatever happens, in whatever order it hears of it.

The machine keeps the objects of an API server. Changes reach the allocator late, repeatedly, in any
order, or with the next list only; writes succeed, are refused, or are seen before they are
answered; the operator is restarted at any point. After every step the allocator's ledger is
compared with what follows from what it was told, and its decisions with those of an oracle that
looks at everything.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.allocation.interface import Assignment, Reservation
from carpool_operator.domain.allocation.resting import LONGEST_SECONDS
from carpool_operator.domain.cluster_state import JobDemand, Resources, Scheduling, Slot
from support.clusters import GIB, NOW, assigned, driver, executor, gpus, job, node, other
from support.plain_allocation import Told, together_is_allowed

JOBS = st.builds(
    lambda required, beyond, **terms: job("", required + beyond, required=required, **terms),
    required=st.integers(1, 5),
    beyond=st.integers(0, 3),
    executors_per_gpu=st.integers(1, 3),
    shared_with=st.sampled_from(["Job", "Namespace", "Any", "Any"]),
    namespace=st.sampled_from(["a", "b"]),
    placement=st.sampled_from(["Spread", "Spread", "Pack"]),
    device=st.sampled_from(["GPU", "GPU", "GPU", "CPU"]),
    gpu_memory=st.sampled_from([None, None, 5 * GIB, 13 * GIB]),
    executor_scheduling=st.sampled_from([Scheduling(), Scheduling(), Scheduling({"zone": "a"})]),
    executor_requests=st.sampled_from([Resources(cores * 1000, GIB, 1) for cores in (0, 1, 2)]),
)


GPU = "nvidia.com/gpu"
WHOLE = ((GPU, 1),)


def whole_gpus(demand):
    """The job with a whole GPU of the kubelet's for each executor."""
    return replace(
        demand,
        device="GPU",
        executors_per_gpu=1,
        shared_with="Job",
        executor_requests=replace(demand.executor_requests, extended=WHOLE),
    )


ANY_JOBS = JOBS | JOBS | JOBS.map(whole_gpus)


def pick(records, which):
    """One of the records, by a number."""
    return records[sorted(records)[which % len(records)]]


class Churn(RuleBasedStateMachine):
    """The API server, the operator that hears of it, and what must hold between them."""

    @initialize(
        shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(4, 20)), min_size=2, max_size=4),
        jobs=st.lists(st.tuples(ANY_JOBS, st.integers(1, 6)), max_size=3),
    )
    def begin(self, shapes, jobs):
        self.now = NOW
        self.allocator = ClusterAllocator()
        self.told = Told()
        self.truth = Told()
        self.number = 0
        self.ever: dict[str, Slot] = {}
        self.lost: set[str] = set()
        self.random = random.Random(0)
        for index, (count, cores) in enumerate(shapes):
            name = f"n{index}"
            self.truth.nodes[name] = node(
                name, cpu=cores * 1000, labels={"zone": "a" if index % 2 else "b"}
            )
            if count:
                self.truth.inventories[name] = gpus(name, count, heartbeat=self.now)
        self.hear_everything()
        for demand, executors in jobs:
            self.a_job_comes_and_is_reserved(demand, executors)
        self.hear_everything()
        self.it_assigns(20, "written", 0)

    # The world changes.

    @rule(demand=ANY_JOBS, executors=st.integers(0, 6))
    def a_job_comes_and_asks_for_executors(self, demand, executors):
        """Without a reservation: as one whose driver was started, or has outgrown it."""
        demand = self.named(demand)
        self.truth.jobs[demand.uid] = demand
        self.ask(demand, executors)

    @rule(demand=ANY_JOBS, executors=st.integers(0, 6))
    def a_job_comes_and_is_reserved(self, demand, executors):
        demand = self.named(demand)
        self.truth.jobs[demand.uid] = self.told.jobs[demand.uid] = demand
        self.allocator.job_seen(demand)
        self.reserve(demand, executors)

    @precondition(lambda self: self.truth.jobs)
    @rule(which=st.integers(0, 99), executors=st.integers(0, 6))
    def a_job_is_reserved_and_its_driver_created(self, which, executors):
        self.hear_everything()
        demand = pick(self.truth.jobs, which)
        if not any(pod.job_uid == demand.uid for pod in self.truth.pods.values()):
            self.reserve(demand, executors)

    def named(self, demand):
        self.number += 1
        return replace(demand, uid=f"uid-j{self.number}", name=f"j{self.number}", created=self.now)

    def ask(self, demand, executors):
        for _ in range(executors):
            self.number += 1
            pod = executor(demand, self.number)
            self.truth.pods[pod.uid] = pod

    def reserve(self, demand, executors):
        answer = self.allocator.reserve(demand.uid, self.now)
        if isinstance(answer, Reservation):
            assert len(answer.slots) == demand.required
            assert answer == self.allocator.reserve(demand.uid, self.now)
            self.told.pending[demand.uid] = answer.slots
            self.number += 1
            made = driver(demand, *answer.slots, uid=f"driver-{self.number}")
            self.truth.pods[made.uid] = made
            self.ask(demand, executors)
        else:
            eligible = self.told.eligible(
                demand, demand.executor_requests, demand.executor_scheduling, self.now
            )
            ahead = len(self.allocator._admission._queue) > 1
            # What is eligible at once may not be so together: a node's room is shared.
            assert ahead or len(eligible) < demand.required or demand.required > 1

    @precondition(lambda self: self.told.pending)
    @rule(which=st.integers(0, 99))
    def a_reservation_is_given_up(self, which):
        """The job is suspended, which the allocator hears as its end, and is resumed."""
        uid = sorted(self.told.pending)[which % len(self.told.pending)]
        self.forget_reservation(uid)
        for pod in list(self.truth.pods.values()):
            if pod.job_uid == uid and pod.role == "driver":
                del self.truth.pods[pod.uid]

    def forget_reservation(self, uid):
        self.allocator.job_gone(uid)
        self.told.pending.pop(uid, None)
        if uid in self.told.jobs:
            self.allocator.job_seen(self.told.jobs[uid])

    @precondition(lambda self: self.truth.pods)
    @rule(
        which=st.integers(0, 99),
        what=st.sampled_from(["is being deleted", "ends", "is gone", "ends", "asks for more"]),
    )
    def a_pod(self, which, what):
        pod = pick(self.truth.pods, which)
        if what == "is being deleted":
            self.truth.pods[pod.uid] = replace(pod, deleting=True, ended=pod.ended or pod.gated)
        elif what == "ends" and not pod.gated:
            self.truth.pods[pod.uid] = replace(pod, ended=True, phase="Succeeded")
        elif what == "is gone":
            del self.truth.pods[pod.uid]
        elif pod.job_uid in self.truth.jobs:
            self.ask(self.truth.jobs[pod.job_uid], 2)

    @precondition(lambda self: self.truth.jobs)
    @rule(which=st.integers(0, 99))
    def a_job_ends(self, which):
        demand = pick(self.truth.jobs, which)
        del self.truth.jobs[demand.uid]
        for uid, pod in self.truth.pods.items():
            if pod.job_uid == demand.uid:
                done = pod.role == "driver" or pod.gated
                self.truth.pods[uid] = replace(pod, deleting=True, ended=done or pod.ended)

    @rule(
        cores=st.integers(0, 4),
        index=st.integers(0, 3),
        number=st.integers(0, 2),
        extended=st.sampled_from([(), WHOLE]),
    )
    def a_pod_of_others_comes_or_goes(self, cores, index, number, extended):
        uid = f"other-{number}"
        self.truth.pods.pop(uid, None)
        if cores:
            requests = Resources(cores * 1000, GIB, 1, extended)
            self.truth.pods[uid] = other(uid, f"n{index}", requests)

    @rule(
        index=st.integers(0, 3),
        what=st.sampled_from(["turns", "turns", "is gone", "comes", "reports", "reports"]),
        count=st.integers(1, 4),
    )
    def a_node(self, index, what, count):
        name = f"n{index}"
        known, inventory = self.truth.nodes.get(name), self.truth.inventories.get(name)
        if what == "turns" and known:
            self.truth.nodes[name] = replace(known, ready=not known.ready)
        elif what == "is gone":
            self.truth.nodes.pop(name, None)
            self.truth.inventories.pop(name, None)
        elif what == "comes" and not known:
            self.truth.nodes[name] = node(name, cpu=6000, labels={"zone": "a"})
            self.truth.inventories[name] = gpus(name, count, heartbeat=self.now)
        elif inventory:
            self.truth.inventories[name] = replace(inventory, heartbeat=self.now)

    @rule(
        index=st.integers(0, 3),
        capacity=st.sampled_from([0, 2, 4, 4]),
        away=st.sampled_from([False, False, True]),
    )
    def a_kubelet_offers_gpus(self, index, capacity, away):
        """More, fewer, or none; it may have some whose device plugin is away."""
        known = self.truth.nodes.get(f"n{index}")
        if known:
            offered = ((GPU, 0 if away else capacity),)
            room = replace(known.allocatable, extended=offered)
            self.truth.nodes[known.name] = replace(known, allocatable=room, kubelet_gpus=capacity)

    @rule(
        index=st.integers(0, 3),
        gpu=st.integers(0, 3),
        health=st.sampled_from(["Healthy", "Healthy", "Unhealthy", "Lost"]),
    )
    def a_gpu_turns(self, index, gpu, health):
        known = self.truth.inventories.get(f"n{index}")
        if known:
            turned = tuple(
                replace(each, health=health) if each.uuid.endswith(f"g{gpu}") else each
                for each in known.gpus
            )
            self.truth.inventories[known.node] = replace(known, gpus=turned, heartbeat=self.now)

    @rule(seconds=st.sampled_from([1.0, 1.0, 30.0, 100.0, 400.0]))
    def time_passes(self, seconds):
        self.now += seconds

    # The operator hears of it.

    @rule(seed=st.integers(0, 1 << 16), part=st.sampled_from([0.2, 0.5, 1.0]))
    def it_hears_of_some(self, seed, part):
        self.hear(random.Random(seed), part)

    @rule()
    def it_lists_everything(self):
        self.hear_everything()

    @rule(seed=st.integers(0, 1 << 16))
    def it_hears_again_what_it_knows(self, seed):
        told = self.told
        calls = [
            *((self.allocator.node_seen, each) for each in told.nodes.values()),
            *((self.allocator.gpus_seen, each) for each in told.inventories.values()),
            *((self.allocator.job_seen, each) for each in told.jobs.values()),
            *((self.allocator.pod_seen, each) for each in told.pods.values()),
        ]
        random.Random(seed).shuffle(calls)
        for call, record in calls:
            call(record)

    def hear_everything(self):
        self.hear(self.random, 1.0)

    def hear(self, choice: random.Random, part: float):
        """What has changed reaches the allocator: a part of it, in any order."""
        changes = []
        allocator = self.allocator
        for kind, seen, gone in (
            ("nodes", allocator.node_seen, allocator.node_gone),
            ("inventories", allocator.gpus_seen, allocator.gpus_gone),
            ("jobs", allocator.job_seen, allocator.job_gone),
            ("pods", allocator.pod_seen, allocator.pod_gone),
        ):
            now, known = getattr(self.truth, kind), getattr(self.told, kind)
            changes += [
                (kind, key, seen, gone)
                for key in now.keys() | known.keys()
                if now.get(key) != known.get(key)
            ]
        changes.sort(key=lambda change: change[:2])
        choice.shuffle(changes)
        for kind, key, seen, gone in changes[: round(len(changes) * part)]:
            record = getattr(self.truth, kind).get(key)
            if record is None:
                del getattr(self.told, kind)[key]
                gone(key)
            else:
                getattr(self.told, kind)[key] = record
                seen(record)
            self.settle(kind, key, record)

    def settle(self, kind, key, record):
        """What the allocator no longer remembers apart, once it has heard of this."""
        if kind == "pods":
            if record is None or not record.gated:
                self.told.in_flight.pop(key, None)
            live = record is not None and not record.deleting and not record.ended
            if live and record.role == "driver":
                self.told.pending.pop(record.job_uid, None)
        if kind == "jobs" and record is None:
            self.told.pending.pop(key, None)

    # It decides.

    @rule(
        limit=st.integers(1, 8),
        fate=st.sampled_from(["written", "refused", "unanswered", "mixed"]),
        seed=st.integers(0, 1 << 16),
    )
    def it_assigns(self, limit, fate, seed):
        choice = random.Random(seed)
        self.hear(choice, 0.7)
        for _ in range(limit):
            decided = self.allocator.assign(self.now, limit=1)
            if not decided:
                break
            self.check(decided[0].pod, decided[0].slot)
            pod, slot = decided[0].pod, decided[0].slot
            self.told.in_flight[pod.uid] = (pod, slot)
            what = choice.choice(["written", "refused", "unanswered"]) if fate == "mixed" else fate
            known = self.truth.pods.get(pod.uid)
            writable = known is not None and known.gated and not known.deleting
            if what == "refused" or not writable:
                self.allocator.refused(decided[0], self.now - LONGEST_SECONDS)  # its rest is over
                del self.told.in_flight[pod.uid]
                continue
            assert pod.uid not in self.ever
            self.ever[pod.uid] = slot
            self.truth.pods[pod.uid] = assigned(decided[0], self.now)
            if what == "written":
                self.told.pods[pod.uid] = self.truth.pods[pod.uid]
                del self.told.in_flight[pod.uid]
                self.allocator.pod_seen(self.truth.pods[pod.uid])

    def check(self, pod, slot):
        """A decision against what the allocator knew before it."""
        demand = self.told.jobs[pod.job_uid]
        held = self.told.held(demand.uid)
        self.check_owner(slot, pod)
        if slot in held:
            return  # it was eligible when it was reserved, and has been counted since
        eligible = self.told.eligible(demand, pod.requests, pod.scheduling, self.now)
        assert slot in eligible
        if not self.impatient_jobs():
            assert slot == min(eligible, key=lambda each: self.told.key(demand, each))

    def check_owner(self, slot, pod):
        """A node that somebody new comes to is the pool's or the kubelet's, and no other's."""
        if slot.gpu is not None:
            node = self.told.nodes[slot.node]
            assert not node.kubelet_gpus
            assert not self.told.asked_by_pods(slot.node)[GPU]
        elif pod.requests.extended:
            assert slot.node not in self.told.nodes_by_uuid()

    def impatient_jobs(self):
        return [uid for uid in self.allocator._admission._queue if uid in self.told.jobs]

    @rule(carried_out=st.booleans())
    def it_evicts(self, carried_out):
        for eviction in self.allocator.evictions(self.now):
            assert not eviction.pod.deleting
            assert self.told.pods[eviction.pod.uid] == eviction.pod
            if carried_out and eviction.pod.uid in self.truth.pods:
                pod = self.truth.pods[eviction.pod.uid]
                self.truth.pods[pod.uid] = replace(pod, deleting=True)

    @rule(seed=st.integers(0, 1 << 16))
    def it_is_restarted(self, seed):
        """Answers that were under way are lost; everything is listed before it decides."""
        self.told.pending.clear()
        self.told.in_flight.clear()
        self.allocator = ClusterAllocator()
        self.told = Told()
        self.hear(random.Random(seed), 1.0)

    @rule(seed=st.integers(0, 1 << 16))
    def a_new_one_decides_the_same(self, seed):
        self.hear_everything()
        for pod, slot in list(self.told.in_flight.values()):
            self.allocator.refused(Assignment(pod, slot), self.now - LONGEST_SECONDS)
        self.told.in_flight.clear()
        for uid in self.told.pending.keys() | self.allocator._admission._queue.keys():
            self.forget_reservation(uid)
        other = ClusterAllocator()
        kept, self.allocator = self.allocator, other
        everything, self.told = self.told, Told()
        self.hear(random.Random(seed), 1.0)
        assert self.told == everything
        found = other.assign(self.now, 1000)
        assert found == kept.assign(self.now, 1000)
        assert other.evictions(self.now) == kept.evictions(self.now)
        for assignment in found:
            self.check_not_assigned_before(assignment)
            other.refused(assignment, self.now - LONGEST_SECONDS)

    def check_not_assigned_before(self, assignment):
        assert assignment.pod.uid not in self.ever or not self.truth.pods[assignment.pod.uid].gated

    @precondition(lambda self: not self.impatient_jobs())
    @rule()
    def nobody_waits_for_a_slot_that_is_free(self):
        self.hear_everything()
        decided = self.allocator.assign(self.now, 1000)
        self.told.in_flight.update({each.pod.uid: (each.pod, each.slot) for each in decided})
        for pod in self.told.pods.values():
            demand = self.told.jobs.get(pod.job_uid or "")
            if demand is None or not pod.gated or pod.deleting or pod.uid in self.told.in_flight:
                continue
            staying = sum(
                each.job_uid == demand.uid
                and each.role == "executor"
                and each.node is not None
                and not each.ended
                and not each.deleting
                for each in self.told.pods.values()
            ) + sum(each.job_uid == demand.uid for each, _ in self.told.in_flight.values())
            if staying < demand.executors:
                assert not self.told.eligible(demand, pod.requests, pod.scheduling, self.now)
                lacking = self.allocator.why_waiting(demand.uid, self.now)
                assert lacking is not None
        for assignment in decided:
            self.allocator.refused(assignment, self.now - LONGEST_SECONDS)
            self.told.in_flight.pop(assignment.pod.uid)

    # What must hold.

    @invariant()
    def no_gpu_has_more_than_the_jobs_on_it_accept(self):
        if not hasattr(self, "truth"):
            return
        on_gpus: dict[Slot, list[JobDemand]] = {}
        for uid, slot, _ in self.truth.executors():
            if slot.gpu is not None:
                on_gpus.setdefault(slot, [])
                if uid in self.truth.jobs:
                    on_gpus[slot].append(self.truth.jobs[uid])
        for slot, demands in on_gpus.items():
            gpu = self.truth.gpu(slot)
            if demands and gpu is not None:
                assert together_is_allowed(demands, gpu)

    @invariant()
    def the_ledger_is_what_follows_from_what_it_was_told(self):
        if not hasattr(self, "truth"):
            return
        self.allocator._advance(self.now)
        ledger = self.allocator._ledger
        on_gpus = self.told.on_gpus()
        found = {
            Slot(name, uuid): Counter(gpu.jobs)
            for name, each in ledger.nodes.items()
            for uuid, gpu in each.gpus.items()
            if gpu.jobs
        }
        assert found == on_gpus
        for name, each in ledger.nodes.items():
            asked = self.told.asked(name)
            assert (each.cpu, each.memory, each.pods, each.kubelet_gpus_taken) == (
                asked["cpu"],
                asked["memory"],
                asked["pods"],
                asked[GPU],
            )
        held = Counter(
            namespace
            for jobs in on_gpus.values()
            for namespace in {ledger.namespaces[uid] for uid in jobs}
        )
        for uid, count in self.told.whole_gpus():
            held[ledger.namespaces[uid]] += count
        assert ledger.gpus_held == +held
        healthy = [gpu for each in ledger.nodes.values() for gpu in each.gpus.values() if gpu.open]
        assert ledger.free_gpus == sum(not gpu.jobs for gpu in healthy)
        assert ledger.open_slots == sum(gpu.limit - gpu.executors for gpu in healthy if gpu.jobs)


TestChurn = Churn.TestCase
TestChurn.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
