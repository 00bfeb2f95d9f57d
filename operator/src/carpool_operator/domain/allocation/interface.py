"""What the rest of the operator knows of the allocator.

The allocator is told what was observed, in any order and as often as wanted, and asked for
decisions; it decides at once, from memory alone, and is given the time. Its memory is a cache: told
everything again, a new one decides the same. Only decisions whose write is under way are remembered
apart, until the write is seen or refused, and three things that a restart forgives: nodes that are
avoided (`avoided_nodes`), how many executors a job has lost to its hosts (`failing_hosts`), and
which executors were refused (`resting`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from carpool_operator.domain.cluster_state import (
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Slot,
)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Slots held for a job's executors, before its driver exists; one entry per executor."""

    job_uid: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Why a job or an executor waits.

    Attributes:
        reason: CamelCase, for a condition: InsufficientGPUs, InsufficientCPU, NoEligibleNode …
        message: a sentence that says what is lacking, with figures and places.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """An executor and its slot, decided but not written yet."""

    pod: Pod
    slot: Slot


@dataclass(frozen=True, slots=True)
class Eviction:
    """A pod of ours to delete, and why: its driver asks for another."""

    pod: Pod
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job should fail, as a CamelCase reason and a sentence."""

    reason: str
    message: str


class Allocator(Protocol):
    """Decides where executors run."""

    def node_seen(self, node: Node) -> None:
        """Take in a node, new or changed."""

    def node_gone(self, name: str) -> None:
        """Forget a node; unknown names are no error."""

    def gpus_seen(self, inventory: GpuInventory) -> None:
        """Take in what a node's agent reports."""

    def gpus_gone(self, node: str) -> None:
        """Forget a node's report."""

    def pod_seen(self, pod: Pod) -> None:
        """Take in a pod, ours or not; confirms an assignment or a reservation that was written."""

    def pod_gone(self, uid: str) -> None:
        """Forget a pod that no longer exists."""

    def job_seen(self, demand: JobDemand) -> None:
        """Take in a job that is accepted and neither finished nor suspended."""

    def job_gone(self, uid: str) -> None:
        """Forget a job, with a reservation that no driver carries yet."""

    def reserve(self, job_uid: str, now: float) -> Reservation | Lacking:
        """Hold slots for a job's required executors, all or none.

        The same reservation is answered until the driver that carries it has ended, or the job is
        gone. A job that lacks something waits in the queue from then on, until it asks no more
        (`queued_since`) or is gone; who goes before whom is decided over all that wait.
        """

    def assign(self, now: float, limit: int = 100) -> list[Assignment]:
        """Decide slots for executors that wait at the gate, and that no other gate holds.

        Those that their job requires go first, then namespaces that hold fewer GPUs, then the
        oldest. What is answered counts as assigned until `pod_seen` confirms it or
        `refused` takes it back.
        """

    def refused(self, assignment: Assignment, now: float) -> None:
        """The write of an assignment failed, or another has assigned the pod.

        The pod waits again after a while, which grows (`resting`); what it has become meanwhile is
        for `pod_seen` to say first.
        """

    def why_waiting(self, job_uid: str, now: float) -> Lacking | None:
        """What the executors of a running job that wait at the gate lack; None: none waits."""

    def evictions(self, now: float) -> list[Eviction]:
        """Pods to delete: on lost GPUs, above a GPU's slots, not schedulable, or without a host.

        A pod is named again until `pod_seen` shows that it is being deleted.
        """

    def failure(self, job_uid: str, now: float) -> JobFailure | None:
        """Why a job should fail: its hosts fail wherever they are put; None: it should not."""

    def next_wakeup(self, now: float) -> float | None:
        """Unix time at which time alone changes a decision; None: never."""
