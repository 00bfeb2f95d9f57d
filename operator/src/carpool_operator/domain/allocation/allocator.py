"""The allocator: takes in what is observed, keeps the ledger, answers with decisions.

What must stay true: an entry stands in the ledger exactly as long as its pod's containers may run,
its assignment is under way, or its slot is held. Decisions are functions of the ledger and of the
time, so it does not matter in which order, or how often, something was told.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heapreplace

from carpool_operator.domain.allocation.admission import Admission
from carpool_operator.domain.allocation.avoided_nodes import AvoidedNodes
from carpool_operator.domain.allocation.choice import Choice
from carpool_operator.domain.allocation.claims import Claims
from carpool_operator.domain.allocation.clearing import cleared
from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.failing_hosts import FailingHosts
from carpool_operator.domain.allocation.interface import (
    Assignment,
    Eviction,
    JobFailure,
    Lacking,
    Reservation,
)
from carpool_operator.domain.allocation.job_ledger import JobLedger
from carpool_operator.domain.allocation.ledger import Entry, Ledger
from carpool_operator.domain.allocation.reservation import (
    LONGEST_RESERVATION,
    reservation_annotation,
)
from carpool_operator.domain.allocation.shortage import Shortages
from carpool_operator.domain.allocation.waiting import Group, Waiting
from carpool_operator.domain.cluster_state import (
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Slot,
)

UNSCHEDULABLE_SECONDS = 60.0
"""For so long the scheduler may find no place for an executor where it was sent."""


class ClusterAllocator:
    """The `Allocator` of a cluster."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        claims = Claims(self._ledger)
        self._choice = Choice(self._ledger, claims)
        self._shortages = Shortages(self._ledger)
        self._admission = Admission(self._ledger, self._choice, claims)
        self._avoided = AvoidedNodes()
        self._hosts = FailingHosts()
        self._waiting = Waiting()
        self._jobs: dict[str, JobLedger] = {}
        self._job_of: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}
        self._in_flight: dict[str, Assignment] = {}
        # Executors that have a slot, as the API server shows them.
        self._assigned: dict[str, Pod] = {}
        self._on_slot: defaultdict[Slot, set[str]] = defaultdict(set)
        self._unschedulable: set[str] = set()
        self._outdated: set[str] = set()

    def node_seen(self, node: Node) -> None:
        """Take in a node, new or changed."""
        self._ledger.see_node(node.name, node)
        self._reconsider()

    def node_gone(self, name: str) -> None:
        """Forget a node; unknown names are no error."""
        self._ledger.see_node(name, None)
        self._reconsider()

    def gpus_seen(self, inventory: GpuInventory) -> None:
        """Take in what a node's agent reports."""
        known = self._ledger.nodes.get(inventory.node)
        before = known.inventory if known else None
        self._ledger.see_gpus(inventory.node, inventory)
        if before is None or before.gpus != inventory.gpus:
            self._reconsider()

    def gpus_gone(self, node: str) -> None:
        """Forget a node's report."""
        self._ledger.see_gpus(node, None)
        self._reconsider()

    def pod_seen(self, pod: Pod) -> None:
        """Take in a pod, ours or not."""
        if not pod.gated:
            self._in_flight.pop(pod.uid, None)
        entry = None
        if pod.uid in self._in_flight:
            entry = self._entries[pod.uid]
        elif pod.node is not None and not pod.ended:
            executor = pod.job_uid if pod.role == "executor" else None
            lasting = pod.job_uid is None
            entry = Entry(Slot(pod.node, pod.gpu), executor, pod.requests, lasting)
        if pod.job_uid is None:
            self._enter(pod.uid, entry)
            return
        job = self._job(pod.job_uid, pod.namespace)
        self._job_of[pod.uid] = pod.job_uid
        self._enter(pod.uid, entry)
        if pod.role == "driver":
            job.see_driver(pod)
        else:
            self._see_executor(pod, job)
        self._settle_job(job)

    def pod_gone(self, uid: str) -> None:
        """Forget a pod that no longer exists."""
        self._in_flight.pop(uid, None)
        self._waiting.remove(uid)
        self._hosts.forget(uid)
        self._forget_assigned(uid)
        self._enter(uid, None)
        job = self._jobs.get(self._job_of.pop(uid, ""))
        if job is not None:
            job.forget_driver(uid)
            self._settle_job(job)

    def job_seen(self, demand: JobDemand) -> None:
        """Take in a job that is accepted and neither finished nor suspended."""
        job = self._job(demand.uid, demand.namespace)
        if job.demand != demand:
            self._choice.forget_job(demand.uid)
        if job.demand and job.demand.queued_since is not None and demand.queued_since is None:
            self._admission.leave(demand.uid)
        job.see_demand(demand, self._ledger)
        self._settle_job(job)
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
        self._hosts.forget_job(uid)
        job = self._jobs.get(uid)
        if job is not None:
            job.see_demand(None, self._ledger)
            self._give_up_pending(job)

    def reserve(self, job_uid: str, now: float) -> Reservation | Lacking:
        """Hold slots for a job's required executors, all or none."""
        self._advance(now)
        job = self._jobs.get(job_uid)
        if job is not None and job.reserved:
            return Reservation(job_uid, job.reserved)
        if job is None or job.demand is None:
            return Lacking("NotAccepted", "the job has not been accepted")
        self._admission.enter(job.demand)
        slots = self._admission.fitting(now, last=job_uid).get(job_uid)
        if slots is None:
            return self._behind(job.demand, now) or self._too_few(job.demand, now)
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
            if (job := self._jobs[group.job_uid]).demand is not None
        ]
        heapify(turns)
        while turns and len(found) < limit:
            turn, group, job = turns[0]
            if not group or not self._may_have_more(job):
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

    def refused(self, assignment: Assignment) -> None:
        """The write of an assignment failed, or another has assigned the pod."""
        uid = assignment.pod.uid
        if self._in_flight.get(uid) != assignment:
            return
        del self._in_flight[uid]
        self._enter(uid, None)
        self.pod_seen(assignment.pod)

    def why_waiting(self, job_uid: str, now: float) -> Lacking | None:
        """What the executors of a running job that wait at the gate lack; None: none waits."""
        self._advance(now)
        groups = self._waiting.of_job(job_uid)
        job = self._jobs.get(job_uid)
        if not groups or job is None or job.demand is None:
            return None
        count = sum(map(len, groups))
        who = f"{count} executor{'' if count == 1 else 's'} at the gate"
        if not self._may_have_more(job):
            return Lacking("EnoughExecutors", f"{who}; {job.demand.executors} have their slots")
        eligibility = self._eligibility(groups[0], job)
        need = f"{who} need{'s' if count == 1 else ''} {self._slot_words(eligibility)}s"
        if not self._requires_more(job) and self._choice.best(eligibility, now) is not None:
            claimed = self._admission.claim(now)
            if claimed and self._choice.best(eligibility, now, leaving_claims=True) is None:
                first = self._admission.order(now)[0]
                return Lacking("QueuedBehind", f"{need}; {_name(first)} has waited longer for them")
        return self._shortages.told(eligibility, now, need)

    def evictions(self, now: float) -> list[Eviction]:
        """Pods to delete: on lost GPUs, above a GPU's slots, or that cannot be scheduled."""
        self._advance(now)
        found = [*self._wrongly_placed(), *self._not_scheduled(now), *self._without_host(now)]
        return list({eviction.pod.uid: eviction for eviction in reversed(found)}.values())

    def failure(self, job_uid: str, now: float) -> JobFailure | None:
        """Why a job should fail: its hosts fail wherever they are put; None: it should not."""
        job = self._jobs.get(job_uid)
        if job is None or job.demand is None:
            return None
        return self._hosts.failure(job_uid, job.demand.executors, now)

    def next_wakeup(self, now: float) -> float | None:
        """Unix time at which time alone changes a decision; None: never."""
        times = [self._avoided.next_end(now), self._admission.next_patience_end(now)]
        for uid in self._unschedulable:
            since = self._assigned[uid].unschedulable_since
            if since is not None and since + UNSCHEDULABLE_SECONDS > now:
                times.append(since + UNSCHEDULABLE_SECONDS)
        return min((time for time in times if time is not None), default=None)

    # What is known of pods and jobs.

    def _job(self, uid: str, namespace: str) -> JobLedger:
        job = self._jobs.get(uid)
        if job is None:
            job = self._jobs[uid] = JobLedger(uid)
            self._ledger.namespaces[uid] = namespace
        return job

    def _settle_job(self, job: JobLedger) -> None:
        """Note what is to be held anew; forget a job of which nothing is known."""
        if job.drivers:
            self._admission.leave(job.uid)
        if job.outdated or job.overfull:
            self._outdated.add(job.uid)
        else:
            self._forget_if_empty(job)

    def _forget_if_empty(self, job: JobLedger) -> None:
        if job.empty and not self._waiting.of_job(job.uid):
            del self._jobs[job.uid]
            self._choice.forget_job(job.uid)
            self._ledger.forget_job(job.uid)

    def _give_up_pending(self, job: JobLedger) -> None:
        if job.pending is not None:
            job.pending = None
            job.outdated = True
        self._settle_job(job)

    def _reconsider(self) -> None:
        """A slot that is held may have become useless, or useful again."""
        self._outdated.update(uid for uid, job in self._jobs.items() if job.overfull)

    def _see_executor(self, pod: Pod, job: JobLedger) -> None:
        waits = (
            pod.gated
            and not pod.held_by_others
            and not pod.deleting
            and pod.uid not in self._in_flight
        )
        if waits:
            self._waiting.add(pod, job.uid)
        else:
            self._waiting.remove(pod.uid)
        if pod.uid not in self._entries:
            self._forget_assigned(pod.uid)
            self._hosts.forget(pod.uid)
            return
        if pod.deleting:
            job.leaving.add(pod.uid)
        if pod.gated:
            return
        self._forget_assigned(pod.uid)
        self._assigned[pod.uid] = pod
        self._on_slot[self._entries[pod.uid].slot].add(pod.uid)
        if pod.unschedulable_since is not None and not pod.deleting:
            self._unschedulable.add(pod.uid)
        self._hosts.see(pod)

    def _forget_assigned(self, uid: str) -> None:
        pod = self._assigned.pop(uid, None)
        if pod is None:
            return
        self._unschedulable.discard(uid)
        slot = Slot(pod.node or "", pod.gpu)
        self._on_slot[slot].discard(uid)
        if not self._on_slot[slot]:
            del self._on_slot[slot]

    def _enter(self, uid: str, entry: Entry | None) -> None:
        """Make the ledger say this of the pod, and nothing else."""
        known = self._entries.get(uid)
        if known == entry:
            return
        if known is not None:
            del self._entries[uid]
            self._ledger.remove(known)
            if known.job_uid is not None:
                job = self._jobs[known.job_uid]
                job.give_back(uid)
                self._settle_job(job)
        if entry is not None:
            self._entries[uid] = entry
            self._ledger.add(entry)
            if entry.job_uid is not None:
                job = self._jobs[entry.job_uid]
                job.take(uid, entry.slot, self._ledger)
                self._settle_job(job)

    # Decisions.

    def _advance(self, now: float) -> None:
        """Let time have its effect, and hold what is to be held."""
        self._ledger.clock = max(self._ledger.clock, now)
        for name in self._avoided.over(self._ledger.avoided, now):
            self._ledger.avoided.discard(name)
            self._ledger.touch(name, eased=True)
        outdated, self._outdated = self._outdated, set()
        for uid in outdated:
            job = self._jobs.get(uid)
            if job is not None:
                job.hold(self._ledger)
                self._forget_if_empty(job)

    def _turn(self, group: Group, job: JobLedger) -> tuple[bool, int, float, str]:
        """What decides whose turn it is; the smallest goes first."""
        oldest, demand = group.oldest(), job.demand
        on_cpus = demand is not None and demand.device == "CPU"
        held = self._ledger.nodes_held if on_cpus else self._ledger.gpus_held
        beyond = not self._requires_more(job)
        return (beyond, held[oldest.namespace], oldest.created, oldest.uid)

    def _requires_more(self, job: JobLedger) -> bool:
        return job.demand is not None and job.staying < job.demand.required

    def _may_have_more(self, job: JobLedger) -> bool:
        return job.demand is not None and job.staying < job.demand.executors

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
        self._enter(pod.uid, Entry(slot, job.uid, pod.requests))
        if job.outdated:
            job.hold(self._ledger)
            self._outdated.discard(job.uid)
        return assignment

    # Messages.

    def _slot_words(self, eligibility: Eligibility) -> str:
        return "GPU slot" if eligibility.by_uuid else "place"

    def _too_few(self, demand: JobDemand, now: float) -> Lacking:
        # A job that waits for its first executors sees what any in its terms would.
        eligibility = self._choice.anyone(self._choice.eligibility(demand))
        words = self._slot_words(eligibility)
        need = f"needs {demand.required} {words}s at once"
        if demand.required == 1:
            need = f"needs a {words}"
        return self._shortages.told(eligibility, now, need)

    def _behind(self, demand: JobDemand, now: float) -> Lacking | None:
        """Whom the job waits for, if it would fit without them."""
        if not self._admission.fits_alone(demand, now):
            return None
        first = self._admission.order(now)[0]
        if first.uid == demand.uid:
            return None
        return Lacking(
            "QueuedBehind",
            f"what it needs is free, but {_name(first)} goes first: "
            "it has waited longer, or its namespace holds less",
        )

    # Evictions.

    def _wrongly_placed(self) -> list[Eviction]:
        found = []
        for name, uuid in sorted(self._ledger.suspects):
            node = self._ledger.nodes[name]
            pods = [self._assigned[uid] for uid in self._on_slot.get(Slot(name, uuid), ())]
            found += cleared(node, node.gpus[uuid], pods, self._ledger.demands)
        return found

    def _not_scheduled(self, now: float) -> list[Eviction]:
        found = []
        for uid in sorted(self._unschedulable):
            pod = self._assigned[uid]
            waited = now - (pod.unschedulable_since or now)
            if waited < UNSCHEDULABLE_SECONDS or pod.node is None:
                continue
            if self._avoided.blame(pod.node, now):
                self._ledger.avoided.add(pod.node)
                self._ledger.touch(pod.node, eased=False)
            why = f"the scheduler has found no room for it on {pod.node} for {waited:.0f} s"
            found.append(Eviction(pod, "Unschedulable", why))
        return found

    def _without_host(self, now: float) -> list[Eviction]:
        found = []
        for pod in self._hosts.failing(now):
            job = self._jobs.get(pod.job_uid or "")
            if pod.deleting or job is None or job.demand is None:
                continue
            if self._hosts.give_up(pod, job.demand.executors, now):
                found.append(Eviction(pod, "HostFailed", self._hosts.why(pod)))
        return found


def _name(demand: JobDemand) -> str:
    return f"{demand.namespace}/{demand.name}"
