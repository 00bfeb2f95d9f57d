"""What the allocator must answer, found by looking at everything, as an oracle for its tests.

Written from the rules alone, on nothing but the records: no ledger, no heap, nothing remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.cluster_state import (
    Gpu,
    GpuInventory,
    JobDemand,
    Node,
    Pod,
    Resources,
    Scheduling,
    Slot,
)

GPU = "nvidia.com/gpu"


@dataclass
class Told:
    """The records that an allocator was given last, and what it has decided itself."""

    nodes: dict[str, Node] = field(default_factory=dict)
    inventories: dict[str, GpuInventory] = field(default_factory=dict)
    jobs: dict[str, JobDemand] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    in_flight: dict[str, tuple[Pod, Slot]] = field(default_factory=dict)
    pending: dict[str, tuple[Slot, ...]] = field(default_factory=dict)

    def executors(self) -> Iterator[tuple[str, Slot, Resources]]:
        """Job, slot and requests of each executor that has a slot."""
        for pod in self.pods.values():
            if pod.role == "executor" and pod.job_uid and pod.node and not pod.ended:
                yield pod.job_uid, Slot(pod.node, pod.gpu), pod.requests
        for pod, slot in self.in_flight.values():
            yield pod.job_uid or "", slot, pod.requests

    def reserved(self, job_uid: str) -> tuple[Slot, ...]:
        for pod in self.pods.values():
            live = not pod.deleting and not pod.ended
            if pod.job_uid == job_uid and pod.role == "driver" and pod.reserved and live:
                return pod.reserved
        return self.pending.get(job_uid, ())

    def held(self, job_uid: str) -> list[Slot]:
        """Slots that are held for executors of the job to come."""
        slots = list(self.reserved(job_uid))
        have = [slot for uid, slot, _ in self.executors() if uid == job_uid]
        demand = self.jobs.get(job_uid)
        needed = min(len(slots), demand.required if demand else len(slots)) - len(have)
        left = list((Counter(slots) - Counter(have)).elements())
        left.sort(key=lambda slot: (not self._is_well(slot), slots.index(slot)))
        return left[: max(0, needed)]

    def _is_well(self, slot: Slot) -> bool:
        node = self.nodes.get(slot.node)
        if node is None or not node.ready:
            return False
        gpu = self.gpu(slot)
        return slot.gpu is None or (gpu is not None and gpu.health == "Healthy")

    def gpu(self, slot: Slot) -> Gpu | None:
        inventory = self.inventories.get(slot.node)
        reported = inventory.gpus if inventory else ()
        return next((gpu for gpu in reported if gpu.uuid == slot.gpu), None)

    def on_gpus(self) -> dict[Slot, Counter[str]]:
        """Executors by GPU and job, those to come included."""
        found: dict[Slot, Counter[str]] = {}
        for uid, slot in self._all_slots():
            if slot.gpu is not None:
                found.setdefault(slot, Counter())[uid] += 1
        return found

    def _all_slots(self) -> Iterator[tuple[str, Slot]]:
        for uid, slot, _ in self.executors():
            yield uid, slot
        for uid in {*self.jobs, *self.pending, *(pod.job_uid or "" for pod in self.pods.values())}:
            for slot in self.held(uid):
                yield uid, slot

    def nodes_by_uuid(self) -> set[str]:
        """Nodes on which executors have GPUs by UUID."""
        return {slot.node for _, slot, _ in self.executors() if slot.gpu is not None}

    def asked(self, node: str) -> Counter[str]:
        """What is asked of a node, by resource, for executors to come too."""
        total = self.asked_by_pods(node)
        for uid, demand in self.jobs.items():
            for slot in self.held(uid):
                if slot.node == node:
                    _add(total, demand.executor_requests)
        return total

    def asked_by_pods(self, node: str) -> Counter[str]:
        """What pods ask of a node, those included whose assignment is under way."""
        total: Counter[str] = Counter()
        for pod in self.pods.values():
            if pod.node == node and not pod.ended:
                _add(total, pod.requests)
        for pod, slot in self.in_flight.values():
            if slot.node == node:
                _add(total, pod.requests)
        return total

    def whole_gpus(self) -> Iterator[tuple[str, int]]:
        """Of each executor with a slot or one held for it: its job, GPUs that it asks a kubelet."""
        for uid, _, requests in self.executors():
            yield uid, dict(requests.extended).get(GPU, 0)
        for uid, demand in self.jobs.items():
            for _ in self.held(uid):
                yield uid, dict(demand.executor_requests.extended).get(GPU, 0)

    def fits(self, node: Node, requests: Resources) -> bool:
        asked, room = self.asked(node.name), node.allocatable
        wanted = {"cpu": requests.cpu, "memory": requests.memory, "pods": requests.pods}
        offered = {"cpu": room.cpu, "memory": room.memory, "pods": room.pods}
        wanted |= dict(requests.extended)
        offered |= dict(room.extended)
        return all(
            not amount or asked[name] + amount <= offered.get(name, 0)
            for name, amount in wanted.items()
        )

    def eligible(
        self, demand: JobDemand, requests: Resources, scheduling: Scheduling, now: float
    ) -> list[Slot]:
        """All slots that an executor of the job may be given now."""
        nodes = [
            node
            for node in self.nodes.values()
            if mismatch(node, scheduling) is None and self.fits(node, requests)
        ]
        if demand.device == "CPU":
            return [Slot(node.name) for node in nodes]
        on_gpus = self.on_gpus()
        if GPU in dict(requests.extended):
            by_uuid = self.nodes_by_uuid()
            return [Slot(node.name) for node in nodes if node.name not in by_uuid]
        found = []
        for node in nodes:
            if node.kubelet_gpus or self.asked_by_pods(node.name)[GPU]:
                continue
            inventory = self.inventories.get(node.name)
            if inventory is None or now - inventory.heartbeat > 90:
                continue
            for gpu in inventory.gpus:
                slot = Slot(node.name, gpu.uuid)
                jobs = on_gpus.get(slot, Counter())
                if gpu.health == "Healthy" and self._may_join(demand, gpu, jobs):
                    found.append(slot)
        return found

    def key(self, demand: JobDemand, slot: Slot) -> tuple[Any, ...]:
        """By which the design compares slots; the smallest is to be chosen."""
        on_gpus = self.on_gpus()
        sign = 1 if demand.placement == "Spread" else -1
        if slot.gpu is None:
            return self._key_of_node(demand, slot.node, sign)
        jobs = on_gpus.get(slot, Counter())
        gpu = self.gpu(slot)
        assert gpu is not None
        healthy = sum(each.health == "Healthy" for each in self.inventories[slot.node].gpus)
        on_node = sum(each.total() for at, each in on_gpus.items() if at.node == slot.node)
        memory = sum(
            count * budget(self.jobs[uid], gpu) for uid, count in jobs.items() if uid in self.jobs
        )
        load = (jobs.total(), on_node / healthy, jobs[demand.uid], memory / gpu.memory)
        return (*(sign * each for each in load), slot.gpu)

    def _key_of_node(self, demand: JobDemand, name: str, sign: int) -> tuple[Any, ...]:
        node = self.nodes[name]
        here = [uid for uid, slot in self._all_slots() if slot == Slot(name)]
        gpus = dict(node.allocatable.extended).get(GPU, 0)
        share = self.asked(name)["cpu"] / node.allocatable.cpu
        busy = len(here) / (node.allocatable.cpu / 1000)
        if gpus:
            busy = max(len(here), self.asked(name)[GPU]) / gpus
        load = (busy, here.count(demand.uid), share)
        has_gpus = name in self.inventories or node.kubelet_gpus > 0
        return (has_gpus, *(sign * each for each in load), name)

    def _may_join(self, demand: JobDemand, gpu: Gpu, jobs: Mapping[str, int]) -> bool:
        if any(uid not in self.jobs for uid in jobs):
            return False
        together = [self.jobs[uid] for uid, count in jobs.items() for _ in range(count)]
        return together_is_allowed([*together, demand], gpu)


def _add(total: Counter[str], requests: Resources) -> None:
    total.update({"cpu": requests.cpu, "memory": requests.memory, "pods": requests.pods})
    total.update(dict(requests.extended))


def budget(demand: JobDemand, gpu: Gpu) -> int:
    """Bytes of the GPU for one executor."""
    given = demand.gpu_memory
    return given if given is not None else gpu.memory // demand.executors_per_gpu


def together_is_allowed(demands: Iterable[JobDemand], gpu: Gpu) -> bool:
    """Whether executors of these jobs (one for each entry) may be on the GPU together."""
    every = list(demands)
    return (
        len(every) <= min(each.executors_per_gpu for each in every)
        and sum(budget(each, gpu) for each in every) <= gpu.memory
        and all(
            one.uid == other.uid
            or (
                "Job" not in (one.shared_with, other.shared_with)
                and (
                    one.namespace == other.namespace
                    or one.shared_with == other.shared_with == "Any"
                )
            )
            for one in every
            for other in every
        )
    )
