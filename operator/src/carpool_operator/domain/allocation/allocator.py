"""The allocator: takes in what is observed, keeps the ledger, answers with decisions.

What must stay true: an entry stands in the ledger exactly as long as its pod's containers may run,
its assignment is under way, or its slot is held. Decisions are functions of the ledger and of the
time, so it does not matter in which order, or how often, something was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace

from carpool_operator.domain.allocation.admission import Admission
from carpool_operator.domain.allocation.books import Books
from carpool_operator.domain.allocation.census import Census, census
from carpool_operator.domain.allocation.choice import Choice
from carpool_operator.domain.allocation.claims import Claims
from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.evictions import Evictions
from carpool_operator.domain.allocation.interface import (
    Assignment,
    Eviction,
    JobFailure,
    Lacking,
    Reservation,
)
from carpool_operator.domain.allocation.job_ledger import JobLedger
from carpool_operator.domain.allocation.ledger import Entry, Ledger
from carpool_operator.domain.allocation.node_totals import NodeTotals, node_totals
from carpool_operator.domain.allocation.reasons import Reasons
from carpool_operator.domain.allocation.reservation import (
    LONGEST_RESERVATION,
    reservation_annotation,
)
from carpool_operator.domain.allocation.resting import Resting
from carpool_operator.domain.allocation.shortage import Shortages
from carpool_operator.domain.allocation.waiting import Group, Waiting
from carpool_operator.domain.cluster_state import (
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Slot,
)


class ClusterAllocator:
    """The `Allocator` of a cluster."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        claims = Claims(self._ledger)
        self._choice = Choice(self._ledger, claims)
        self._admission = Admission(self._ledger, self._choice, claims)
        self._reasons = Reasons(self._choice, Shortages(self._ledger), self._admission)
        self._evictions = Evictions(self._ledger)
        self._waiting = Waiting()
        self._resting = Resting()
        self._books = Books(self._ledger, self._job_settled)
        self._job_of: dict[str, str] = {}
        self._in_flight: dict[str, Assignment] = {}

    def node_seen(self, node: Node) -> None:
        """Take in a node, new or changed."""
        self._ledger.see_node(node.name, node)
        self._books.reconsider()

    def node_gone(self, name: str) -> None:
        """Forget a node; unknown names are no error."""
        self._ledger.see_node(name, None)
        self._books.reconsider()

    def gpus_seen(self, inventory: GpuInventory) -> None:
        """Take in what a node's agent reports."""
        known = self._ledger.nodes.get(inventory.node)
        before = known.inventory if known else None
        self._ledger.see_gpus(inventory.node, inventory)
        if before is None or before.gpus != inventory.gpus:
            self._books.reconsider()

    def gpus_gone(self, node: str) -> None:
        """Forget a node's report."""
        self._ledger.see_gpus(node, None)
        self._books.reconsider()

    def pod_seen(self, pod: Pod) -> None:
        """Take in a pod, ours or not."""
        if not pod.gated:
            self._in_flight.pop(pod.uid, None)
            self._resting.forget(pod.uid)
        entry = None
        if pod.uid in self._in_flight:
            entry = self._books.entries[pod.uid]
        elif pod.node is not None and not pod.ended:
            executor = pod.job_uid if pod.role == "executor" else None
            lasting = pod.job_uid is None
            entry = Entry(Slot(pod.node, pod.gpu), executor, pod.requests, lasting)
        if pod.job_uid is None:
            self._books.enter(pod.uid, entry)
            return
        job = self._books.job(pod.job_uid, pod.namespace)
        self._job_of[pod.uid] = pod.job_uid
        self._books.enter(pod.uid, entry)
        if pod.role == "driver":
            job.see_driver(pod)
        else:
            self._see_executor(pod, job)
        self._books.settle(job)

    def pod_gone(self, uid: str) -> None:
        """Forget a pod that no longer exists."""
        self._in_flight.pop(uid, None)
        self._waiting.remove(uid)
        self._resting.forget(uid)
        self._evictions.forget(uid)
        self._books.enter(uid, None)
        job = self._books.jobs.get(self._job_of.pop(uid, ""))
        if job is not None:
            job.forget_driver(uid)
            self._books.settle(job)

    def job_seen(self, demand: JobDemand) -> None:
        """Take in a job that is accepted and neither finished nor suspended."""
        job = self._books.job(demand.uid, demand.namespace)
        if job.demand != demand:
            self._choice.forget_job(demand.uid)
        if job.demand and job.demand.queued_since is not None and demand.queued_since is None:
            self._admission.leave(demand.uid)
        job.see_demand(demand, self._ledger)
        self._books.settle(job)
        if (
            job.demand is not None
            and not job.reserved
            and (demand.queued_since is not None or demand.uid in self._admission)
        ):
            self._admission.enter(job.demand)

    def job_gone(self, uid: str) -> None:
        """Forget a job, with a reservation that no driver carries yet."""
        self._admission.leave(uid)
        self._choice.forget_job(uid)
        self._evictions.forget_job(uid)
        job = self._books.jobs.get(uid)
        if job is not None:
            job.see_demand(None, self._ledger)
            if job.pending is not None:
                job.pending = None
                job.outdated = True
            self._books.settle(job)

    def reserve(self, job_uid: str, now: float) -> Reservation | Lacking:
        """Hold slots for a job's required executors, all or none."""
        self._advance(now)
        job = self._books.jobs.get(job_uid)
        if job is not None and job.reserved:
            return Reservation(job_uid, job.reserved)
        if job is None or job.demand is None:
            return Lacking("NotAccepted", "the job has not been accepted")
        self._admission.enter(job.demand)
        slots = self._admission.fitting(now, last=job_uid).get(job_uid)
        if slots is None:
            return self._reasons.of_job(job.demand, now)
        self._admission.leave(job_uid)
        if len(reservation_annotation(slots)) > LONGEST_RESERVATION:
            return Lacking(
                "TooManyRequired",
                f"needs {len(slots)} slots at once, more than a driver pod can carry in its "
                "annotations; set a lower minExecutors",
            )
        job.pending = Reservation(job_uid, tuple(slots))
        job.hold(self._ledger)
        return job.pending

    def assign(self, now: float, limit: int = 100) -> list[Assignment]:
        """Decide slots for executors that wait at the gate.

        Executors that their job requires go before those beyond; then namespaces that hold fewer
        GPUs go first; then the oldest.
        """
        self._advance(now)
        found: list[Assignment] = []
        claimed: bool | None = None
        turns = [
            (self._turn(group, job), group, job)
            for group in self._waiting.groups()
            if (job := self._books.jobs[group.job_uid]).demand is not None
        ]
        heapify(turns)
        while turns and len(found) < limit:
            turn, group, job = turns[0]
            if not group or not job.may_have_more:
                heappop(turns)
                continue
            if turn != (current := self._turn(group, job)):
                heapreplace(turns, (current, group, job))
                continue
            slot = self._held_slot(group, job, now)
            if slot is None:
                # What comes after this in one call changes no claim: it is put elsewhere.
                if turn[0] and claimed is None:
                    claimed = self._admission.claim(now)
                leaving = turn[0] and bool(claimed)
                eligibility = self._eligibility(group, job)
                slot = self._choice.best(eligibility, now, leaving_claims=leaving)
            if slot is None:
                heappop(turns)
                continue
            found.append(self._assign(group.oldest(), slot, job))
        return found

    def refused(self, assignment: Assignment, now: float) -> None:
        """The write of an assignment failed, or another has assigned the pod."""
        uid = assignment.pod.uid
        if self._in_flight.get(uid) != assignment:
            return
        del self._in_flight[uid]
        self._books.enter(uid, None)
        self._resting.refuse(assignment.pod, now)
        self.pod_seen(assignment.pod)

    def why_waiting(self, job_uid: str, now: float) -> Lacking | None:
        """What the executors of a running job that wait at the gate lack; None: none waits."""
        self._advance(now)
        groups = self._waiting.of_job(job_uid)
        job = self._books.jobs.get(job_uid)
        if job is None or job.demand is None:
            return None
        if not groups:
            return self._reasons.of_refused(self._resting.count(job_uid))
        return self._reasons.of_executors(
            sum(map(len, groups)),
            self._eligibility(groups[0], job),
            now,
            enough=not job.may_have_more,
            beyond=not job.requires_more,
        )

    def evictions(self, now: float) -> list[Eviction]:
        """Pods to delete: on lost GPUs, above a GPU's slots, or that cannot be scheduled."""
        self._advance(now)
        return self._evictions.found(now)

    def failure(self, job_uid: str, now: float) -> JobFailure | None:
        """Why a job should fail: its hosts fail wherever they are put; None: it should not."""
        job = self._books.jobs.get(job_uid)
        if job is None or job.demand is None:
            return None
        return self._evictions.failure(job.demand, now)

    def next_wakeup(self, now: float) -> float | None:
        """Unix time at which time alone changes a decision; None: never."""
        times = (
            self._evictions.next_change(now),
            self._admission.next_patience_end(now),
            self._resting.next_end(),
        )
        return min((time for time in times if time is not None), default=None)

    def census(self, now: float) -> Census:
        """What there is, in figures."""
        waiting, refused = len(self._waiting), self._resting.count()
        return census(self._ledger, waiting=waiting, refused=refused, now=now)

    def node_totals(self) -> Mapping[str, NodeTotals]:
        """What is assigned of the GPUs of each node that an agent reports, by name."""
        return node_totals(self._ledger)

    # What is known of pods and jobs.

    def _job_settled(self, job: JobLedger) -> None:
        """A job that has its driver waits for none; one of which nothing is known is forgotten."""
        if job.drivers:
            self._admission.leave(job.uid)
        if job.settled and job.empty and not self._waiting.of_job(job.uid):
            self._books.forget(job)
            self._choice.forget_job(job.uid)

    def _see_executor(self, pod: Pod, job: JobLedger) -> None:
        rests = self._resting.keeps(pod)
        waits = (
            not rests
            and pod.gated
            and not pod.held_by_others
            and not pod.deleting
            and pod.uid not in self._in_flight
        )
        if waits:
            self._waiting.add(pod, job.uid)
        else:
            self._waiting.remove(pod.uid)
        entry = self._books.entries.get(pod.uid)
        if entry is None:
            self._evictions.forget(pod.uid)
            return
        if pod.deleting:
            job.leaving.add(pod.uid)
        if not pod.gated:
            self._evictions.see(pod, entry.slot)

    # Decisions.

    def _advance(self, now: float) -> None:
        """Let time have its effect, and hold what is to be held."""
        self._ledger.clock = max(self._ledger.clock, now)
        self._evictions.advance(now)
        for pod in self._resting.rested(now):
            self.pod_seen(pod)
        self._books.hold()

    def _turn(self, group: Group, job: JobLedger) -> tuple[bool, int, float, str]:
        """What decides whose turn it is; the smallest goes first."""
        oldest, demand = group.oldest(), job.demand
        on_cpus = demand is not None and demand.device == "CPU"
        held = self._ledger.nodes_held if on_cpus else self._ledger.gpus_held
        beyond = not job.requires_more
        return (beyond, held[oldest.namespace], oldest.created, oldest.uid)

    def _eligibility(self, group: Group, job: JobLedger) -> Eligibility:
        if job.demand is None:
            raise LookupError(f"job {job.uid} has no terms")
        return self._choice.eligibility(job.demand, group.requests, group.scheduling)

    def _held_slot(self, group: Group, job: JobLedger, now: float) -> Slot | None:
        """The first of the slots held for the job that can be used."""
        if not job.held:
            return None
        eligibility = self._eligibility(group, job)
        for slot in job.held:
            if eligibility.keeps(self._ledger.nodes[slot.node], slot.gpu, now):
                return slot
        return None

    def _assign(self, pod: Pod, slot: Slot, job: JobLedger) -> Assignment:
        assignment = Assignment(pod, slot)
        self._waiting.remove(pod.uid)
        self._in_flight[pod.uid] = assignment
        self._books.enter(pod.uid, Entry(slot, job.uid, pod.requests))
        if job.outdated:
            self._books.hold_of(job)
        return assignment
