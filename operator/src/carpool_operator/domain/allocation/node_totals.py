"""What the GPUs of each node carry together, as `kubectl get gpunodes` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """Of one node.

    Attributes:
        executors: on its GPUs; slots that are held count.
        free_memory: of its healthy GPUs, promised to nobody; tenths of a GiB, rounded down.
    """

    executors: int
    free_memory: int

    def status(self) -> dict[str, Any]:
        """As the GPUNode has it in `status.assigned`."""
        whole, tenths = divmod(self.free_memory, 10)
        return {
            "executors": self.executors,
            "freeMemory": f"{whole}.{tenths}Gi" if tenths else f"{whole}Gi",
        }


def node_totals(ledger: Ledger) -> Mapping[str, NodeTotals]:
    """Of the nodes that an agent reports, by name; milliseconds for a thousand of them."""
    return {
        name: NodeTotals(_executors(node), 10 * _free_memory(node) // _GIB)
        for name, node in ledger.nodes.items()
        if node.inventory is not None
    }


def _executors(node: NodeLedger) -> int:
    of_kubelet = node.node_executors.total() if node.is_kubelets else 0
    return node.gpu_executors + of_kubelet


def _free_memory(node: NodeLedger) -> int:
    """Bytes; where the kubelet hands GPUs out, the share of those that no pod has."""
    free = sum(_free(gpu) for gpu in node.gpus.values())
    if not node.is_kubelets:
        return free
    left = max(0, node.kubelet_gpus - node.kubelet_gpus_taken)
    return free * left // node.kubelet_gpus if left else 0


def _free(gpu: GpuLedger) -> int:
    """Bytes; none below zero, of a GPU that has become too small for what is on it."""
    if gpu.gpu is None or not gpu.healthy:
        return 0
    return max(0, gpu.gpu.memory - gpu.memory_used)
