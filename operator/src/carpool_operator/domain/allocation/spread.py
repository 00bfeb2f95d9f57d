"""Spread: the least loaded slot first, so that what runs side by side differs by one at most."""

from __future__ import annotations

from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.allocation.policy import Key


class Spread:
    """No GPU is chosen that has more executors than another that might be."""

    prefers_loaded = False

    def of_gpu(self, node: NodeLedger, gpu: GpuLedger, job_uid: str) -> Key:
        """Executors on the GPU, then on the node per GPU, then of the same job, then memory."""
        same = gpu.jobs.get(job_uid, 0)
        return (gpu.executors, node.load, same, gpu.memory_share, gpu.uuid)

    def least(self, node: NodeLedger, gpu: GpuLedger) -> Key:
        """As for a job that has nobody on it."""
        return (gpu.executors, node.load, 0, gpu.memory_share, gpu.uuid)

    def of_node(self, node: NodeLedger, job_uid: str) -> Key:
        """Nodes without GPUs, then executors on the node, then of the same job, then CPU."""
        same = node.node_executors.get(job_uid, 0)
        return (node.has_gpus, node.node_load, same, node.cpu_share, node.name)
