"""What is lacking, in figures and places: for conditions, and for the people who read them."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence

from carpool.spec.gpu import KUBELET_GPUS
from carpool_operator.domain.allocation.eligibility import OF_KUBELET, Eligibility
from carpool_operator.domain.allocation.interface import Lacking
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import NodeLedger
from carpool_operator.domain.allocation.room import places, room

_NAMED = 3
"""Jobs, GPUs or nodes that a message names; it counts the rest."""
_LARGE = 200
"""Nodes of a large cluster, which changes all the time and takes milliseconds to count."""
_LARGE_SECONDS = 5.0
_KEPT = 256
_LITTLE = "too little"
"""In the refusal of a node that would take the executor if less were on it."""

_NO_PLUGIN = (
    "no node offers nvidia.com/gpu; run NVIDIA's device plugin on nodes for such jobs, or set "
    "spec.gpu.ownership: Pool"
)
_ASK_KUBELET = (
    "; set spec.gpu.ownership: Exclusive to ask the kubelet for GPUs, or keep NVIDIA's device "
    "plugin off the nodes of the pool"
)


class Shortages:
    """Says why executors wait; jobs that ask for the same share the counting.

    With thousands of GPUs a count takes milliseconds, and jobs that wait ask again and again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tallies: OrderedDict[Eligibility, _Tally] = OrderedDict()

    def told(self, eligibility: Eligibility, now: float, need: str) -> Lacking:
        """Why executors of a kind wait, by the state of all nodes.

        Args:
            eligibility: of one of them.
            now: Unix time; what follows from time alone may be a second old, and in a large
                cluster everything five.
            need: begin of the message, such as "needs 4 GPU slots at once".
        """
        tally = self._tallies.get(eligibility)
        if tally is None or not self._holds(tally, now):
            tally = self._tallies[eligibility] = _Tally(eligibility, self._ledger, now)
        self._tallies.move_to_end(eligibility)
        if len(self._tallies) > _KEPT:
            self._tallies.popitem(last=False)
        return tally.told(need)

    def _holds(self, tally: _Tally, now: float) -> bool:
        age = now - tally.now
        if len(self._ledger.nodes) > _LARGE:
            return 0 <= age < _LARGE_SECONDS
        return tally.number == self._ledger.number and 0 <= age < 1


class _Tally:
    """Sums over nodes."""

    def __init__(self, eligibility: Eligibility, ledger: Ledger, now: float) -> None:
        self._eligibility = eligibility
        self._ledger = ledger
        self.now, self.number = now, ledger.number
        self._nodes = 0
        self._gpus = 0
        self._kubelets: list[str] = []
        self._free = 0
        self._idle_places = 0
        self._too_small = 0
        self._unhealthy: list[str] = []
        self._users: Counter[str] = Counter()
        self._refusals: defaultdict[str, list[str]] = defaultdict(list)
        self._tight: Counter[str] = Counter()
        for node in ledger.nodes.values():
            self._take(node)

    def _take(self, node: NodeLedger) -> None:
        """Count a node, if it has what the executors ask for: GPUs of an agent, of the kubelet."""
        by_uuid, exclusive = self._eligibility.by_uuid, self._eligibility.exclusive
        if node.node is not None and node.is_kubelets:
            self._kubelets.append(node.name)
        if (by_uuid and node.inventory is None) or (exclusive and not node.kubelet_gpus):
            return
        if node.node is None and not by_uuid:
            return
        self._nodes += 1
        on_gpus = None
        if by_uuid:
            on_gpus = self._take_gpus(node)
        elif exclusive:
            on_gpus = self._take_whole_gpus(node)
        refusal = self._eligibility.refusal(node, self.now)
        times, tight = room(node, self._eligibility.wants.requests)
        if refusal is not None and KUBELET_GPUS in refusal and not on_gpus:
            return  # who has them is told
        if refusal is not None:
            self._refusals[refusal].append(node.name)
        else:
            self._free += times if on_gpus is None else min(times, on_gpus)
        if refusal is None or _LITTLE in refusal:
            self._idle_places += on_gpus or 0
            if on_gpus is None or times < on_gpus:
                self._tight[tight] += 1

    def _take_gpus(self, node: NodeLedger) -> int:
        found = 0
        for gpu in node.gpus.values():
            if gpu.gpu is None:
                continue
            self._gpus += 1
            if not gpu.healthy:
                self._unhealthy.append(f"{node.name}: {gpu.gpu.health}")
            elif self._eligibility.takes_gpu(gpu):
                found += places(gpu, self._eligibility)
            elif gpu.jobs:
                self._users[min(map(self._name, gpu.jobs))] += 1
            else:
                self._too_small += 1
        return found

    def _take_whole_gpus(self, node: NodeLedger) -> int:
        """Count those that the kubelet hands out, and how many pods have: not which, it knows."""
        self._gpus += node.kubelet_gpus
        others = node.kubelet_gpus_taken
        for uid, count in node.node_executors.items():
            demand = self._ledger.demands.get(uid)
            if demand is not None and demand.device == "GPU":
                self._users[self._name(uid)] += count
                others -= count
        if others > 0:
            self._users["other pods"] += others
        return max(0, node.kubelet_gpus - node.kubelet_gpus_taken)

    def _name(self, job_uid: str) -> str:
        demand = self._ledger.demands.get(job_uid)
        return f"{demand.namespace}/{demand.name}" if demand else "a job that is ending"

    def told(self, need: str) -> Lacking:
        """The reason and the sentence."""
        by_uuid, exclusive = self._eligibility.by_uuid, self._eligibility.exclusive
        if by_uuid and not self._gpus:
            return Lacking("NoGPUs", f"{need}: no node has reported a GPU{self._of_kubelets()}")
        if exclusive and not self._gpus:
            return Lacking("NoGPUs", f"{need}: {_NO_PLUGIN}")
        where = _count(self._nodes, "node")
        if by_uuid or exclusive:
            of = " of the kubelet" if exclusive else ""
            where = f"{_count(self._gpus, 'GPU')}{of} on {where}"
        parts = [where, *self._of_gpus(), *self._of_nodes()]
        free = f"{self._free} {'is' if self._free == 1 else 'are'} free"
        message = f"{need}, {free}: {', '.join(parts)}"
        if by_uuid and len(self._refusals.get(OF_KUBELET, ())) == self._nodes:
            message += _ASK_KUBELET
        return Lacking(self._reason(), message)

    def _of_kubelets(self) -> str:
        """For executors by UUID: that there are GPUs, of the other kind."""
        if not self._kubelets:
            return ""
        nodes = f"{_count(len(self._kubelets), 'node')} ({_some(sorted(self._kubelets))})"
        return f", and the kubelet hands out those of {nodes}{_ASK_KUBELET}"

    def _reason(self) -> str:
        refused = sum(map(len, self._refusals.values()))
        if refused == self._nodes and not any(_LITTLE in refusal for refusal in self._refusals):
            return "NoEligibleNode"
        on_gpus = self._eligibility.by_uuid or self._eligibility.exclusive
        if on_gpus and self._idle_places <= self._free:
            return "InsufficientGPUs"
        return f"Insufficient{_camel(self._tightest())}"

    def _of_gpus(self) -> list[str]:
        parts = []
        if self._users:
            parts.append(f"{self._users.total()} in use by {_ranked(self._users)}")
        if self._unhealthy:
            parts.append(f"{len(self._unhealthy)} unhealthy ({_some(sorted(self._unhealthy))})")
        if self._too_small:
            parts.append(f"{self._too_small} with less memory than an executor needs")
        idle = self._idle_places - self._free
        if idle > 0:
            parts.append(f"{idle} idle for lack of {self._tightest()} on their nodes")
        return parts

    def _tightest(self) -> str:
        return self._tight.most_common(1)[0][0]

    def _of_nodes(self) -> list[str]:
        """Reasons of nodes, the most frequent first: "2 nodes are cordoned (gpu-1, gpu-2)"."""
        ordered = sorted(self._refusals.items(), key=lambda item: (-len(item[1]), item[0]))
        parts = [
            f"{_count(len(nodes), 'node')} {_agreeing(refusal, len(nodes))} "
            f"({_some(sorted(nodes))})"
            for refusal, nodes in ordered[:_NAMED]
        ]
        rest = sum(len(nodes) for _, nodes in ordered[_NAMED:])
        return [*parts, f"{_count(rest, 'node')} refused for other reasons"] if rest else parts


def _camel(resource: str) -> str:
    known = {"memory": "Memory", "pods": "Pods", KUBELET_GPUS: "GPUs"}
    return known.get(resource, resource if resource == "CPU" else "Resources")


def _agreeing(refusal: str, number: int) -> str:
    """The verb in the plural for several nodes."""
    plurals = {"is": "are", "has": "have", "does": "do", "shares": "share"}
    verb, _, rest = refusal.partition(" ")
    return refusal if number == 1 else f"{plurals.get(verb, verb)} {rest}"


def _ranked(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return _some([f"{name} ({count})" for name, count in ordered])


def _some(items: Sequence[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
