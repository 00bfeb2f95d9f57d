"""How many GPUs there are, how evenly executors are on them, and how many executors wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from carpool_operator.domain.allocation.ledger import Ledger

STALE = "Stale"
"""Beside the healths that agents report: of GPUs whose agent has been silent for too long."""
KUBELETS = "Kubelet"
"""Of GPUs on nodes whose kubelet hands GPUs out, well or not: executors get none by UUID there."""
UNREPORTED = "Unreported"
"""Of GPUs that executors were given, and that no agent reports (any more)."""


@dataclass(frozen=True, slots=True)
class Census:
    """Counts over the whole cluster.

    Attributes:
        gpus: by health.
        by_executors: healthy GPUs of the pool by the number of executors on them.
        waiting: executors at the gate that only a slot is missing to.
        refused: executors whose assignment was refused and that rest.
    """

    gpus: Mapping[str, int]
    by_executors: Mapping[int, int]
    waiting: int
    refused: int

    @property
    def unevenness(self) -> int:
        """Executors on the fullest healthy GPU less those on the emptiest; 0 and 1 are even."""
        return max(self.by_executors, default=0) - min(self.by_executors, default=0)


def census(ledger: Ledger, *, waiting: int, refused: int, now: float) -> Census:
    """Count, in a few milliseconds for thousands of GPUs."""
    gpus: Counter[str] = Counter()
    by_executors: Counter[int] = Counter()
    for node in ledger.nodes.values():
        fresh, of_kubelet = node.is_fresh(now), node.is_kubelets
        for gpu in node.gpus.values():
            if gpu.gpu is None:
                gpus[UNREPORTED] += 1
            elif of_kubelet:
                gpus[KUBELETS] += 1
            elif not fresh:
                gpus[STALE] += 1
            else:
                gpus[gpu.gpu.health] += 1
                if gpu.healthy:
                    by_executors[gpu.executors] += 1
    return Census(gpus, by_executors, waiting, refused)
