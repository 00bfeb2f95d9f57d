"""Which executors must go from where they are: from GPUs, from nodes, from failing hosts.

It knows the executors that have a slot as the API server shows them, not those whose assignment is
under way: only what was written can be deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from carpool_operator.domain.allocation.avoided_nodes import AvoidedNodes
from carpool_operator.domain.allocation.clearing import cleared
from carpool_operator.domain.allocation.failing_hosts import FailingHosts
from carpool_operator.domain.allocation.interface import Eviction, JobFailure
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.cluster_state import JobDemand, Pod, Slot

UNSCHEDULABLE_SECONDS = 60.0
"""For so long the scheduler may find no place for an executor where it was sent."""


class Evictions:
    """What is known of executors that have a slot, and which of them to delete."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._avoided = AvoidedNodes()
        self._hosts = FailingHosts()
        self._assigned: dict[str, Pod] = {}
        self._on_slot: defaultdict[Slot, set[str]] = defaultdict(set)
        self._unschedulable: set[str] = set()

    def see(self, pod: Pod, slot: Slot) -> None:
        """Take in an executor that has its slot."""
        self._forget_place(pod.uid)
        self._assigned[pod.uid] = pod
        self._on_slot[slot].add(pod.uid)
        if pod.unschedulable_since is not None and not pod.deleting:
            self._unschedulable.add(pod.uid)
        self._hosts.see(pod)

    def forget(self, uid: str) -> None:
        """The executor has no slot, or has ended."""
        self._forget_place(uid)
        self._hosts.forget(uid)

    def forget_job(self, job_uid: str) -> None:
        """The job is gone."""
        self._hosts.forget_job(job_uid)

    def advance(self, now: float) -> None:
        """Let nodes be used again whose time is over."""
        for name in self._avoided.over(self._ledger.avoided, now):
            self._ledger.avoided.discard(name)
            self._ledger.touch(name, eased=True)

    def found(self, now: float) -> list[Eviction]:
        """All of them, a pod once, for the first of the reasons."""
        found = [*self._wrongly_placed(), *self._not_scheduled(now), *self._without_host(now)]
        return list({eviction.pod.uid: eviction for eviction in reversed(found)}.values())

    def failure(self, demand: JobDemand, now: float) -> JobFailure | None:
        """Why a job should fail: its hosts fail wherever they are put; None: it should not."""
        return self._hosts.failure(demand.uid, demand.executors, now)

    def next_change(self, now: float) -> float | None:
        """When time alone changes which they are, or where executors may go; None: never."""
        times = [self._avoided.next_end(now)]
        for uid in self._unschedulable:
            since = self._assigned[uid].unschedulable_since
            if since is not None and since + UNSCHEDULABLE_SECONDS > now:
                times.append(since + UNSCHEDULABLE_SECONDS)
        return min((time for time in times if time is not None), default=None)

    def _forget_place(self, uid: str) -> None:
        pod = self._assigned.pop(uid, None)
        if pod is None:
            return
        self._unschedulable.discard(uid)
        slot = Slot(pod.node or "", pod.gpu)
        self._on_slot[slot].discard(uid)
        if not self._on_slot[slot]:
            del self._on_slot[slot]

    def _wrongly_placed(self) -> Iterator[Eviction]:
        for name, uuid in sorted(self._ledger.suspects):
            node = self._ledger.nodes[name]
            pods = [self._assigned[uid] for uid in self._on_slot.get(Slot(name, uuid), ())]
            yield from cleared(node, node.gpus[uuid], pods, self._ledger.demands)

    def _not_scheduled(self, now: float) -> Iterator[Eviction]:
        for uid in sorted(self._unschedulable):
            pod = self._assigned[uid]
            waited = now - (pod.unschedulable_since or now)
            if waited < UNSCHEDULABLE_SECONDS or pod.node is None:
                continue
            if self._avoided.blame(pod.node, now):
                self._ledger.avoided.add(pod.node)
                self._ledger.touch(pod.node, eased=False)
            why = f"the scheduler has found no room for it on {pod.node} for {waited:.0f} s"
            yield Eviction(pod, "Unschedulable", why)

    def _without_host(self, now: float) -> Iterator[Eviction]:
        for pod in self._hosts.failing(now):
            demand = self._ledger.demands.get(pod.job_uid or "")
            if pod.deleting or demand is None:
                continue
            if self._hosts.give_up(pod, demand.executors, now):
                yield Eviction(pod, "HostFailed", self._hosts.why(pod))
