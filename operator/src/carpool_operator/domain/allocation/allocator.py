"""The allocator: takes in what is observed, keeps the ledger, answers with decisions.

First step: executors on CPUs. A node's ledger is what its pods ask for, plus assignments whose
write is under way, plus slots that are held for jobs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from carpool_operator.domain.allocation.interface import (
    Assignment,
    Eviction,
    Lacking,
    Reservation,
)
from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.cluster_state import (
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Resources,
    Scheduling,
    Slot,
)


class ClusterAllocator:
    """The `Allocator` of a cluster."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._pods: dict[str, Pod] = {}
        self._jobs: dict[str, JobDemand] = {}
        self._in_flight: dict[str, Assignment] = {}
        self._pending: dict[str, Reservation] = {}

    def node_seen(self, node: Node) -> None:
        """Take in a node."""
        self._nodes[node.name] = node

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._nodes.pop(name, None)

    def gpus_seen(self, inventory: GpuInventory) -> None:
        """GPUs are not assigned yet."""

    def gpus_gone(self, node: str) -> None:
        """GPUs are not assigned yet."""

    def pod_seen(self, pod: Pod) -> None:
        """Take in a pod; ends an assignment or a reservation that it carries."""
        self._pods[pod.uid] = pod
        if not pod.gated:
            self._in_flight.pop(pod.uid, None)
        if pod.job_uid is not None and _carries(pod):
            self._pending.pop(pod.job_uid, None)

    def pod_gone(self, uid: str) -> None:
        """Forget a pod."""
        self._pods.pop(uid, None)
        self._in_flight.pop(uid, None)

    def job_seen(self, demand: JobDemand) -> None:
        """Take in a job."""
        self._jobs[demand.uid] = demand

    def job_gone(self, uid: str) -> None:
        """Forget a job."""
        self._jobs.pop(uid, None)
        self._pending.pop(uid, None)

    def reserve(self, job_uid: str, now: float) -> Reservation | Lacking:  # noqa: ARG002 - time plays no part yet
        """Hold slots for the required executors, or say what is lacking."""
        held = self._reservation(job_uid)
        if held is not None:
            return held
        demand = self._jobs[job_uid]
        if demand.device == "GPU":
            return Lacking("GPUsNotSupported", "executors on GPUs are not assigned yet")
        free = self._free()
        slots: list[Slot] = []
        for _ in range(demand.required):
            slot = self._choose(
                demand.uid, demand.executor_requests, demand.executor_scheduling, free
            )
            if slot is None:
                return self._lacking(demand, len(slots))
            free[slot.node].take(demand.uid, demand.executor_requests)
            slots.append(slot)
        held = self._pending[job_uid] = Reservation(job_uid, tuple(slots))
        return held

    def release(self, job_uid: str) -> None:
        """Give up a reservation that no driver carries."""
        self._pending.pop(job_uid, None)

    def assign(self, now: float, limit: int = 100) -> list[Assignment]:  # noqa: ARG002 - time plays no part yet
        """Decide for the executors at the gate, oldest first."""
        free = self._free()
        held = {uid: self._held(uid) for uid in self._jobs}
        found: list[Assignment] = []
        for pod in self._waiting():
            if len(found) == limit:
                break
            demand = self._jobs[pod.job_uid or ""]
            slot = next(iter(+held[demand.uid]), None)
            if slot is not None:
                held[demand.uid][slot] -= 1
            else:
                slot = self._choose(demand.uid, pod.requests, pod.scheduling, free)
                if slot is None:
                    continue
                free[slot.node].take(demand.uid, pod.requests)
            found.append(Assignment(pod, slot))
            self._in_flight[pod.uid] = found[-1]
        return found

    def refused(self, assignment: Assignment) -> None:
        """Take an assignment back."""
        self._in_flight.pop(assignment.pod.uid, None)

    def why_waiting(self, job_uid: str, now: float) -> Lacking | None:  # noqa: ARG002 - time plays no part yet
        """What the executors at the gate lack."""
        waiting = sum(pod.job_uid == job_uid for pod in self._waiting())
        return self._lacking(self._jobs[job_uid], 0) if waiting else None

    def evictions(self, now: float) -> list[Eviction]:  # noqa: ARG002 - time plays no part yet
        """Nothing is deleted yet."""
        return []

    def next_wakeup(self, now: float) -> float | None:  # noqa: ARG002 - time plays no part yet
        """Time alone changes nothing yet."""
        return None

    def _waiting(self) -> list[Pod]:
        """Executors that our gate alone holds, oldest first."""
        found = [
            pod
            for pod in self._pods.values()
            if pod.gated
            and not pod.held_by_others
            and not pod.deleting
            and pod.uid not in self._in_flight
            and pod.job_uid in self._jobs
            and self._jobs[pod.job_uid].device == "CPU"
        ]
        return sorted(found, key=lambda pod: (pod.created, pod.uid))

    def _reservation(self, job_uid: str) -> Reservation | None:
        for pod in self._pods.values():
            if pod.job_uid == job_uid and _carries(pod):
                return Reservation(job_uid, pod.reserved)
        return self._pending.get(job_uid)

    def _held(self, job_uid: str) -> Counter[Slot]:
        """Slots that are reserved for the job and that none of its executors has."""
        reservation = self._reservation(job_uid)
        held = Counter(reservation.slots if reservation else ())
        held.subtract(slot for uid, slot, _ in self._taken() if uid == job_uid and slot in held)
        return +held

    def _taken(self) -> Iterable[tuple[str | None, Slot, Resources]]:
        """What pods and assignments under way take: job, slot, requests."""
        for pod in self._pods.values():
            if not pod.ended and pod.node is not None:
                yield pod.job_uid if pod.role == "executor" else None, Slot(pod.node), pod.requests
        for assignment in self._in_flight.values():
            yield assignment.pod.job_uid, assignment.slot, assignment.pod.requests

    def _free(self) -> dict[str, _NodeLedger]:
        ledgers = {name: _NodeLedger(node) for name, node in self._nodes.items()}
        for uid, slot, requests in self._taken():
            if slot.node in ledgers:
                ledgers[slot.node].take(uid, requests)
        for uid, demand in self._jobs.items():
            for slot in self._held(uid).elements():
                if slot.node in ledgers:
                    ledgers[slot.node].take(uid, demand.executor_requests)
        return ledgers

    def _choose(
        self,
        job_uid: str,
        requests: Resources,
        scheduling: Scheduling,
        free: dict[str, _NodeLedger],
    ) -> Slot | None:
        """The fitting node with the fewest executors."""
        fitting = [
            (ledger.executors.total(), ledger.executors[job_uid], name)
            for name, ledger in free.items()
            if ledger.fits(requests) and mismatch(ledger.node, scheduling) is None
        ]
        return Slot(min(fitting)[2]) if fitting else None

    def _lacking(self, demand: JobDemand, found: int) -> Lacking:
        reasons = Counter(
            mismatch(node, demand.executor_scheduling) or "has no room left"
            for node in self._nodes.values()
        )
        places = ", ".join(f"{count} of them {reason}" for reason, count in reasons.most_common(3))
        return Lacking(
            "NoEligibleNode" if "has no room left" not in reasons else "InsufficientCPU",
            f"needs room for {demand.required} executors at once, {found} fit: "
            f"{len(self._nodes)} nodes{', ' if places else ''}{places}",
        )


class _NodeLedger:
    """What is left of a node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.executors: Counter[str] = Counter()
        self._free: defaultdict[str, int] = defaultdict(int, node.allocatable.extended)
        self._free |= {
            "cpu": node.allocatable.cpu,
            "memory": node.allocatable.memory,
            "pods": node.allocatable.pods,
        }

    def take(self, job_uid: str | None, requests: Resources) -> None:
        if job_uid is not None:
            self.executors[job_uid] += 1
        for name, amount in _amounts(requests):
            self._free[name] -= amount

    def fits(self, requests: Resources) -> bool:
        return all(amount <= self._free[name] for name, amount in _amounts(requests) if amount)


def _amounts(requests: Resources) -> Iterable[tuple[str, int]]:
    yield from (("cpu", requests.cpu), ("memory", requests.memory), ("pods", requests.pods))
    yield from requests.extended


def _carries(pod: Pod) -> bool:
    """Whether the pod is a driver whose reservation counts."""
    return pod.role == "driver" and bool(pod.reserved) and not pod.deleting and not pod.ended
