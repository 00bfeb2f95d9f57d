"""What all nodes and GPUs carry.

An entry is made for each pod that takes room, each assignment whose write is under way, and each
slot that is held for a job; it is taken out as it was put in. Everything else here is derived from
the entries and from what nodes, agents and jobs say, so that the order of events leaves no trace.

Entries may come before the node, the GPU or the job that they name: a restarted operator hears of
objects in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from carpool.spec.gpu import KUBELET_GPUS
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.cluster_state import (
    GpuInventory,
    JobDemand,
    Node,
    Resources,
    Slot,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What takes room.

    Attributes:
        slot: where.
        job_uid: the job whose executor it is; None: something else.
        requests: of the pod.
        lasting: whether it may stay when every job has ended: a pod that is not ours.
        held: whether it is a slot that is held, with nobody in it yet.
    """

    slot: Slot
    job_uid: str | None
    requests: Resources
    lasting: bool = False
    held: bool = False


class Ledger:
    """All nodes.

    Attributes:
        nodes: by name.
        demands: terms of the jobs that are known, by uid.
        namespaces: of the jobs that have entries, by uid.
        gpus_held: GPUs on which a namespace has an executor, by UUID or as the kubelet gives them.
        nodes_held: executors of a namespace whose slots are nodes and that have no GPU.
        free_gpus: healthy GPUs without an executor.
        open_slots: places that are left on GPUs with executors, as far as those accept.
        suspects: GPUs on which something is wrong: (node, UUID).
        avoided: nodes that take nobody for a while.
        changes: for each node that changed the number of its last change, in their order.
        eases: as `changes`, of the changes after which more may fit than before.
        number: of the last change.
        structure: number of the last change of a node or of a GPU itself.
        clock: Unix time of the last decision.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeLedger] = {}
        self.demands: dict[str, JobDemand] = {}
        self.namespaces: dict[str, str] = {}
        self.gpus_held: Counter[str] = Counter()
        self.nodes_held: Counter[str] = Counter()
        self.free_gpus = 0
        self.open_slots = 0
        self.suspects: set[tuple[str, str]] = set()
        self.avoided: set[str] = set()
        self.changes: dict[str, int] = {}
        self.eases: dict[str, int] = {}
        self.number = 0
        self.structure = 0
        self.clock = 0.0
        self._gpus_of_job: dict[str, Counter[tuple[str, str]]] = {}
        self._nodes_of_job: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def node(self, name: str) -> NodeLedger:
        """The node, made where nothing was known of it."""
        found = self.nodes.get(name)
        if found is None:
            found = self.nodes[name] = NodeLedger(name)
        return found

    def touch(self, name: str, *, eased: bool) -> None:
        """Note a change of a node; `eased`: more may fit than before."""
        self.number += 1
        self.changes.pop(name, None)
        self.changes[name] = self.number
        if eased:
            self.eases.pop(name, None)
            self.eases[name] = self.number

    def see_node(self, name: str, node: Node | None) -> None:
        """Take in a node, or that it is gone."""
        ledger = self.node(name)
        if ledger.node != node:
            ledger.see(node)
            self.touch(name, eased=True)
            self.structure = self.number
        self._forget_if_empty(ledger)

    def see_gpus(self, name: str, inventory: GpuInventory | None) -> None:
        """Take in what a node's agent reports, or that it is gone."""
        ledger = self.node(name)
        known = ledger.inventory
        if known is not None and not ledger.is_fresh(self.clock):
            self.touch(name, eased=True)
        ledger.inventory = inventory
        if known is None or inventory is None or known.gpus != inventory.gpus:
            reported = {gpu.uuid: gpu for gpu in inventory.gpus} if inventory else {}
            for uuid in reported.keys() | ledger.gpus.keys():
                gpu = ledger.gpus.setdefault(uuid, GpuLedger(name, uuid))
                with self._settled(ledger, gpu):
                    gpu.gpu = reported.get(uuid)
            ledger.count_healthy()
            self.touch(name, eased=True)
            self.structure = self.number
        self._forget_if_empty(ledger)

    def add(self, entry: Entry, count: int = 1) -> None:
        """Put in `count` such entries."""
        self._move(entry, count)

    def remove(self, entry: Entry, count: int = 1) -> None:
        """Take out `count` entries that were put in."""
        self._move(entry, -count)

    def see_demand(self, uid: str, demand: JobDemand | None) -> None:
        """Take in a job's terms, or that they are gone; its GPUs are settled anew."""
        if demand is None:
            self.demands.pop(uid, None)
        else:
            self.demands[uid] = demand
        for node_name, uuid in self._gpus_of_job.get(uid, ()):
            ledger = self.nodes[node_name]
            with self._settled(ledger, ledger.gpus[uuid]):
                pass
            self.touch(node_name, eased=True)

    def nodes_of(self, job_uid: str) -> Counter[str]:
        """Nodes on which the job has executors or holds slots: a live view, the same always."""
        return self._nodes_of_job[job_uid]

    def forget_job(self, job_uid: str) -> None:
        """Forget a job that has no entries."""
        self.namespaces.pop(job_uid, None)
        self._nodes_of_job.pop(job_uid, None)

    def gpus_of(self, job_uid: str) -> list[tuple[str, str]]:
        """GPUs on which the job has executors or holds slots: (node, UUID)."""
        return list(self._gpus_of_job.get(job_uid, ()))

    def _move(self, entry: Entry, count: int) -> None:
        slot, requests = entry.slot, entry.requests
        ledger = self.node(slot.node)
        ledger.ask(requests, count)
        if entry.lasting:
            _count(ledger.lasting, requests, count)
        if entry.held:
            ledger.hold(slot, requests, count)
        if entry.job_uid is not None:
            _count(self._nodes_of_job[entry.job_uid], slot.node, count)
            if slot.gpu is not None:
                self._move_on_gpu(ledger, slot.gpu, entry.job_uid, count)
            else:
                _count(ledger.node_executors, entry.job_uid, count)
                gpus = dict(requests.extended).get(KUBELET_GPUS, 0)
                held = self.gpus_held if gpus else self.nodes_held
                _count(held, self.namespaces[entry.job_uid], count * (gpus or 1))
        self.touch(slot.node, eased=count < 0)
        self._forget_if_empty(ledger)

    def _move_on_gpu(self, ledger: NodeLedger, uuid: str, job_uid: str, count: int) -> None:
        gpu = ledger.gpus.get(uuid)
        if gpu is None:
            gpu = ledger.gpus[uuid] = GpuLedger(ledger.name, uuid)
        ledger.gpu_executors += count
        namespace = self.namespaces[job_uid]
        with self._settled(ledger, gpu):
            before = self._has(gpu, namespace)
            left = gpu.jobs.get(job_uid, 0) + count
            if left:
                gpu.jobs[job_uid] = left
            else:
                del gpu.jobs[job_uid]
            _count(self.gpus_held, namespace, self._has(gpu, namespace) - before)
        _count(self._gpus_of_job.setdefault(job_uid, Counter()), (ledger.name, uuid), count)
        if not self._gpus_of_job[job_uid]:
            del self._gpus_of_job[job_uid]

    def _has(self, gpu: GpuLedger, namespace: str) -> bool:
        return any(self.namespaces[uid] == namespace for uid in gpu.jobs)

    def _forget_if_empty(self, ledger: NodeLedger) -> None:
        if ledger.empty:
            # Heaps prove an entry before they answer it, so that they need not hear of this.
            for known in (self.nodes, self.changes, self.eases):
                known.pop(ledger.name, None)

    @contextmanager
    def _settled(self, node: NodeLedger, gpu: GpuLedger) -> Iterator[None]:
        """Within it a GPU is changed; what is derived from it is derived anew at its end."""
        self._count_open(gpu, -1)
        yield
        gpu.settle(self.demands)
        if gpu.gpu is None and not gpu.jobs:
            del node.gpus[gpu.uuid]
        node.settle()
        self._count_open(gpu, 1)
        place = (node.name, gpu.uuid)
        if gpu.wrong:
            self.suspects.add(place)
        else:
            self.suspects.discard(place)

    def _count_open(self, gpu: GpuLedger, sign: int) -> None:
        if not gpu.open:
            return
        if gpu.executors:
            self.open_slots += sign * (gpu.limit - gpu.executors)
        else:
            self.free_gpus += sign


def _count(counter: Counter[Any], key: Any, change: int) -> None:
    """Change a count, and keep no zeros."""
    counter[key] += change
    if not counter[key]:
        del counter[key]
